"""A real `usthand` run for tests: its processes, its poses, and what it leaves behind."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import psutil
import yaml

from app.transport.messages import PoseSet
from app.transport.sockets import Subscriber, wait
from calibration.rig import write_rig
from models.simulation.simulated_rig import ring_rig
from tests.conftest import ROOT


def slowness() -> float:
    """How many times as long as its own work this process takes here now: 1 where it has a core to itself."""
    began, began_cpu = time.monotonic(), time.process_time()
    while time.process_time() - began_cpu < 0.2:
        pass
    return max(1.0, (time.monotonic() - began) / 0.2)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def usthand(*arguments: str | Path, env: dict[str, str] | None = None, timeout: float = 240):
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "app", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def last_json(output: str) -> dict:
    return json.loads(output.strip().splitlines()[-1])


def simulated_rig(path: Path, cameras: int = 4, faults: dict[str, dict] | None = None, **changes) -> Path:
    """Write the rig of the demo with scripted faults per camera."""
    write_rig(path, ring_rig(cameras, **changes))
    data = yaml.safe_load(path.read_text())
    for entry in data["cameras"]:
        entry["source"].update((faults or {}).get(entry["id"], {}))
    path.write_text(yaml.safe_dump(data))
    return path


def rig_with_a_remote_camera(path: Path) -> tuple[Path, tuple[int, int]]:
    """Write a rig of three cameras whose last, `cam_2`, is grabbed elsewhere; also that camera's image size."""
    simulated_rig(path, cameras=3)
    data = yaml.safe_load(path.read_text())
    data["cameras"][2]["remote"] = True
    path.write_text(yaml.safe_dump(data))
    width, height = data["cameras"][2]["image_size"]
    return path, (width, height)


class LiveRun:
    """`usthand live` (or another command that runs a rig) in the background, with a subscriber to its poses."""

    def __init__(
        self,
        tmp_path: Path,
        *arguments: str | Path,
        env: dict[str, str] | None = None,
        publish: bool = True,
        module: str = "app",
    ) -> None:
        # Short, since the paths of sockets are limited to 107 characters.
        self.runtime = Path(tempfile.mkdtemp(prefix="uh-"))
        self.log = tmp_path / f"log-{time.monotonic_ns()}"
        self.address = f"tcp://127.0.0.1:{free_port()}"
        command = [sys.executable, "-m", module, *map(str, arguments), "--json"]
        if publish:
            command += ["--publish", self.address]
        environment = {**os.environ, "XDG_RUNTIME_DIR": str(self.runtime), **(env or {})}
        self._log_file = self.log.open("w")
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._log_file
        )
        self.subscriber = Subscriber()
        self.subscriber.connect(self.address)
        self.family: dict[int, psutil.Process] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.subscriber.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self._log_file.close()
        shutil.rmtree(self.runtime)

    def poses(self, until: Callable[[list[PoseSet]], bool], seconds: float = 120) -> list[PoseSet]:
        """Pose sets that arrive, until the condition holds; fails with the run's log where it never does."""
        got: list[PoseSet] = []
        end = time.monotonic() + seconds
        while not until(got):
            assert time.monotonic() < end, f"waited {seconds} s in vain, {len(got)} sets; log:\n{self.log.read_text()}"
            assert self.process.poll() is None, f"the run ended; log:\n{self.log.read_text()}"
            wait([self.subscriber], [], 0.1)
            got += [message for message, _ in self.subscriber.receive() if isinstance(message, PoseSet)]
        return got

    def sets(self, count: int, seconds: float = 120) -> list[PoseSet]:
        """The next `count` sets with hands."""
        return [s for s in self.poses(lambda got: sum(bool(p.hands) for p in got) >= count, seconds) if s.hands]

    def children(self) -> list[psutil.Process]:
        found = psutil.Process(self.process.pid).children(recursive=True)
        self.family.update({child.pid: child for child in found})
        return found

    def child(self, *words: str) -> psutil.Process:
        """The one child whose command line has all the words."""
        matching = [child for child in self.children() if all(word in command_line(child) for word in words)]
        assert len(matching) == 1, f"{words}: {matching}"
        return matching[0]

    def interrupt(self) -> tuple[int, dict]:
        """Ctrl-C; returns the exit code and the summary."""
        self.children()
        self.process.send_signal(signal.SIGINT)
        output, _ = self.process.communicate(timeout=60)
        return self.process.returncode, last_json(output.decode())

    def left_behind(self) -> list[str]:
        """What should not be there after the end: processes, files in the run's folder."""
        _, alive = psutil.wait_procs(list(self.family.values()), timeout=30)
        # One that has ended and that only init has yet to collect is not there any more.
        alive = [process for process in alive if not _is_zombie(process)]
        return [str(process) for process in alive] + [str(path) for path in self.runtime.rglob("*")]


def named_memory(pid: int) -> list[str]:
    """The files in memory that a process has mapped, but a camera vendor's library's own."""
    paths = [each.path for each in psutil.Process(pid).memory_maps()]
    return [path for path in paths if path.startswith("/dev/shm/") and "GenICam" not in path]


def command_line(process: psutil.Process) -> list[str]:
    """Its words; none for a process that has just ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
