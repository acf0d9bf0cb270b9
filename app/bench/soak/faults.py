"""How each kind of fault is done to a run, and undone."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from app.bench.soak.rig_run import HEIGHT, WIDTH, ChaosRun
from app.bench.soak.schedule import ChaosEvent, FaultKind
from app.transport.sockets import Subscriber

_BAD_BYTES_A_SECOND = 20_000
_FULL_BYTES = 1 << 17
# Of a take, until its files are longer than that, or it is known to go on.
_TAKE_S = 60.0


def do(run: ChaosRun, event: ChaosEvent) -> None:
    """Do it, and undo it after its time: on return the run may recover."""
    _DEEDS[event.kind](run, event)


def recovered_otherwise(run: ChaosRun, event: ChaosEvent) -> bool:
    """Of what is not seen in the sets: whether it works again."""
    if event.kind != "disk_full":
        return True
    began = run.ask_recorder(do="start")
    well = "error" not in began and _until(lambda: any(each["frames"] for each in _cameras(run)))
    run.ask_recorder(do="stop")
    return well


def _signal(run: ChaosRun, name: str, number: int) -> int | None:
    pid = run.pid_of(name)
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
    return pid


def _kill(run: ChaosRun, event: ChaosEvent) -> None:
    _signal(run, _victim(event), signal.SIGKILL)


def _stop(run: ChaosRun, event: ChaosEvent) -> None:
    pid = _signal(run, _victim(event), signal.SIGSTOP)
    time.sleep(event.lasts_s)
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _hang(run: ChaosRun, event: ChaosEvent) -> None:
    """It is never woken: the watchdog has to end it."""
    pid = _signal(run, _victim(event), signal.SIGSTOP)
    _until(lambda: run.pid_of(_victim(event)) != pid)


def _victim(event: ChaosEvent) -> str:
    return "worker" if event.camera_id is None else f"grabber of {event.camera_id}"


def _stall(run: ChaosRun, event: ChaosEvent) -> None:
    run.relay.stall()
    time.sleep(event.lasts_s)
    run.relay.go_on()


def _cut(run: ChaosRun, event: ChaosEvent) -> None:
    run.relay.cut()


def _jump(run: ChaosRun, event: ChaosEvent) -> None:
    run.jump_clock(event.jump_s)


def start_hostile_peer(run: ChaosRun, seconds: float, per_s: float, address: str | None = None) -> subprocess.Popen:
    """With the run's keys, connected to it or to another address; its last line says how much it sent."""
    command = [sys.executable, "-m", "app.bench.soak.hostile_peer", address or run.listen, str(run.keys), str(seconds)]
    command += [str(per_s), str(WIDTH), str(HEIGHT), *run.camera_ids]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, process_group=0)


def _send_bad_bytes(run: ChaosRun, event: ChaosEvent) -> None:
    start_hostile_peer(run, event.lasts_s, _BAD_BYTES_A_SECOND).communicate(timeout=_TAKE_S + event.lasts_s)


def _subscribe_slowly(run: ChaosRun, event: ChaosEvent) -> None:
    subscribers = [Subscriber(backlog=1) for _ in range(4)]
    for number, subscriber in enumerate(subscribers):
        subscriber.connect(run.publish if number % 2 else run.poses_address)
    time.sleep(event.lasts_s)
    for subscriber in subscribers:
        subscriber.close()


def _fill_disk(run: ChaosRun, event: ChaosEvent) -> None:
    """Of a take that is being recorded: it ends, and says why. Those of the last time are finished, and go."""
    for take in (run.folder / "takes").iterdir():
        shutil.rmtree(take, ignore_errors=True)
    run.ask_recorder(do="start")
    run.limit_files(_FULL_BYTES)
    _until(lambda: bool(run.ask_recorder(do="state").get("problem")))
    run.limit_files(None)


def _cameras(run: ChaosRun) -> list[dict]:
    return list(run.ask_recorder(do="state").get("cameras", {}).values())


def _until(condition: Callable[[], bool]) -> bool:
    end_s = time.monotonic() + _TAKE_S
    while not (done := condition()) and time.monotonic() < end_s:
        time.sleep(0.1)
    return done


_DEEDS: dict[FaultKind, Callable[[ChaosRun, ChaosEvent], None]] = {
    "grabber_killed": _kill,
    "grabber_stopped": _stop,
    "grabber_hung": _hang,
    "worker_killed": _kill,
    "worker_stopped": _stop,
    "network_stalled": _stall,
    "network_cut": _cut,
    "clock_jumped": _jump,
    "bad_bytes": _send_bad_bytes,
    "slow_subscriber": _subscribe_slowly,
    "disk_full": _fill_disk,
}
