"""A real run that chaos is done to: `usthand live` with simulated cameras, one of them over a relay with keys."""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from app.bench.soak.processes import family
from app.bench.soak.relay import StallingRelay, two_free_ports
from app.transport.keys import make_keys
from app.transport.sockets import CommandClient, ipc_address
from calibration.errors import UserError
from calibration.rig import write_rig
from models.simulation.simulated_rig import ring_rig

WIDTH, HEIGHT = 320, 240
_ENDS_S = 60.0
_ASKED_S = 5.0
# In bytes: the run's own folder is made below it, as in `socket_base`.
_LONGEST_PLACE = 40


def temporary_folder() -> tempfile.TemporaryDirectory:
    """For a ChaosRun: in /tmp, where the place for temporary files has a long name."""
    place = tempfile.gettempdir()
    return tempfile.TemporaryDirectory(prefix="uh-", dir=place if len(os.fsencode(place)) <= _LONGEST_PLACE else "/tmp")


class ChaosRun:
    """Starts everything in `folder`, whose path must be short, as sockets lie in it."""

    def __init__(self, folder: Path, cameras: int, fps: float, records: bool = True) -> None:
        self.folder, self.fps = folder, fps
        rig = ring_rig(cameras, WIDTH, HEIGHT, fps)
        self.camera_ids = list(rig.camera_ids)
        *self.local, self.remote = self.camera_ids
        elsewhere = replace(rig.cameras[-1], remote=True)
        write_rig(folder / "rig.yaml", replace(rig, cameras=(*rig.cameras[:-1], elsewhere)))
        self.keys = folder / "keys"
        make_keys(self.keys)
        listen = two_free_ports()
        self.listen = f"tcp://127.0.0.1:{listen}"
        self.publish = f"tcp://127.0.0.1:{two_free_ports()}"
        self.relay = StallingRelay(listen)
        (folder / "run").mkdir()
        command = [sys.executable, "-m", "app", "live", str(folder / "rig.yaml"), "--estimator", "simulated"]
        command += ["--no-viewer", "--listen", self.listen, "--keys", str(self.keys), "--publish", self.publish]
        if records:
            command += ["--record", str(folder / "takes"), "--takes"]
        self.log = folder / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, "--json"],
                env={**os.environ, "XDG_RUNTIME_DIR": str(folder / "run")},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                process_group=0,
            )
        self._camera: subprocess.Popen | None = None
        self._seen: dict[int, str] = {}

    def start_remote_camera(self) -> None:
        """Once the worker listens. Raises UserError where it never does."""
        command = [sys.executable, "-m", "app.bench.soak.remote_camera", self.remote]
        command += [f"tcp://127.0.0.1:{self.relay.port}", str(self.keys)]
        with self.log.open("a") as log:
            self._camera = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=log, text=True, process_group=0)

    def jump_clock(self, seconds: float) -> None:
        assert self._camera is not None and self._camera.stdin is not None
        self._camera.stdin.write(f"{seconds}\n")
        self._camera.stdin.flush()

    @property
    def place(self) -> Path:
        """The run's own folder. Raises UserError where the run has ended."""
        end_s = time.monotonic() + _ENDS_S
        while time.monotonic() < end_s and self.process.poll() is None:
            for path in (self.folder / "run").glob("usthand-*"):
                return path
            time.sleep(0.05)
        raise UserError(f"the run did not start; its log:\n{self.log.read_text()[-2000:]}")

    @property
    def poses_address(self) -> str:
        return ipc_address(self.place / "poses")

    def processes(self) -> dict[int, str]:
        """Of the run and of its remote camera, by number."""
        found = {pid: name for pid, name in family(self.process.pid).items() if name}
        if self._camera is not None and self._camera.poll() is None:
            found[self._camera.pid] = f"remote {self.remote}"
        self._seen.update(found)
        return found

    def pid_of(self, name: str) -> int | None:
        return next((pid for pid, its in self.processes().items() if its == name), None)

    def ask_recorder(self, **request: str) -> dict:
        """Empty where it did not answer."""
        client = CommandClient(ipc_address(self.place / "control"))
        try:
            return client.ask(request, _ASKED_S) or {}
        finally:
            client.close()

    def limit_files(self, most_bytes: int | None) -> None:
        """No file of the recording may grow beyond that: as of a disk that is full for all that is large."""
        for pid, name in self.processes().items():
            if name.startswith(("recorder", "encoder")):
                most = resource.RLIM_INFINITY if most_bytes is None else most_bytes
                try:
                    resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
                except ProcessLookupError:
                    continue

    def end(self) -> tuple[int, dict, list[str]]:
        """Ctrl-C; returns the exit code, the summary, and what it left behind: processes, and files of the run."""
        self.processes()
        if self._camera is not None and self._camera.stdin is not None:
            self._camera.stdin.close()
            self._camera.terminate()
            try:
                self._camera.wait(_ENDS_S)
            except subprocess.TimeoutExpired:
                self._camera.kill()
                self._camera.wait()
        self.process.send_signal(signal.SIGINT)
        try:
            output, _ = self.process.communicate(timeout=_ENDS_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            output, _ = self.process.communicate()
        lines = (output or b"").decode(errors="replace").strip().splitlines()
        try:
            summary = json.loads(lines[-1]) if lines else {}
        except ValueError:
            summary = {}
        self.relay.close()
        left = [name for pid, name in self._seen.items() if self._lives(pid)]
        return self.process.returncode, summary, left + [path.name for path in (self.folder / "run").iterdir()]

    def _lives(self, pid: int) -> bool:
        """Whether it is still a process of this run: within an hour its number may be that of another one."""
        try:
            return str(self.folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False
