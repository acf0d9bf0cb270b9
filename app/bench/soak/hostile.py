"""What one peer that has the keys and sends no good message costs the others: the same run without it and with it.

The peer takes a processor and the kernel's time itself, which another machine's would not. So it also runs beside the
rig, connected to a socket that nobody reads: what differs between that and a connection to the run is the run's own.
"""

import json
import os
import select
import subprocess
import time
from pathlib import Path
from typing import Literal, get_args

from app.bench.soak.faults import start_hostile_peer
from app.bench.soak.observer import Observer
from app.bench.soak.processes import cpu_s
from app.bench.soak.rig_run import ChaosRun, temporary_folder
from app.transport.keys import Keys
from app.transport.sockets import Subscriber, wait
from app.worker.statistics import rounded
from calibration.errors import UserError

_BEGINS_S = 120.0
_SETTLES_S = 3.0
Where = Literal["without", "beside", "with"]
_ROUNDS: tuple[Where, ...] = get_args(Where)


def bench(cameras: int, fps: float, per_s: float, seconds: float) -> dict:
    """`per_s` messages a second are offered to the run for `seconds`, and as long beside it, and none as long.

    The three come in turn, there and back, as the machine may get busier. Raises UserError where the run does not
    begin."""
    with temporary_folder() as folder:
        run = ChaosRun(Path(folder), cameras, fps, records=False)
        unread = Subscriber(1, Keys(run.keys))
        try:
            observer = Observer(run.poses_address, run.camera_ids)
            if observer.wait_for(None, time.monotonic_ns(), _BEGINS_S) is not None:
                run.start_remote_camera()
            if observer.wait_for(run.remote, time.monotonic_ns(), _BEGINS_S) is None:
                raise UserError(f"the run did not begin; its log:\n{run.log.read_text()[-2000:]}")
            addresses = {"beside": unread.bind("tcp://127.0.0.1:0"), "with": run.listen}
            time.sleep(_SETTLES_S)
            order = [*_ROUNDS, *reversed(_ROUNDS)]
            counts = [
                (where, _round(run, observer, seconds / 2, per_s, addresses.get(where), unread)) for where in order
            ]
            observer.close()
        finally:
            unread.close()
            run.end()
    return _result({where: _mean([each for of, each in counts if of == where]) for where in _ROUNDS}, run.camera_ids)


def _result(means: dict[Where, dict[str, float]], camera_ids: list[str]) -> dict:
    """`kept`: the least that is left of a camera's rate, of that without the peer; `kept_of_machine`: of that beside
    it."""
    rows = {name: {where: means[where][name] for where in _ROUNDS} for name in means["with"]}
    pairs: dict[str, dict[str, float | None]] = {
        name: {
            **row,
            "ratio": _ratio(row["with"], row["without"]),
            "ratio_of_machine": _ratio(row["with"], row["beside"]),
        }
        for name, row in rows.items()
    }
    cameras = {name: pairs[name] for name in camera_ids}
    return {
        "offered_per_s": round(means["with"]["offered_per_s"]),
        "kept": min(row["ratio"] or 0.0 for row in cameras.values()),
        "kept_of_machine": min(row["ratio_of_machine"] or 0.0 for row in cameras.values()),
        "cameras": cameras,
        "sets": pairs["sets"],
        "worker_cores": pairs["cores"],
        "cpu_ms_per_set": pairs["cpu_ms_per_set"],
        "load": round(os.getloadavg()[0], 1),
    }


def _ratio(one: float, other: float) -> float:
    return rounded(one / other, 3) or 0.0 if other else 0.0


def _mean(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(sum(each[name] for each in rounds) / len(rounds), 3) for name in rounds[0]}


def _round(
    run: ChaosRun, observer: Observer, seconds: float, per_s: float, address: str | None, unread: Subscriber
) -> dict[str, float]:
    """So many messages a second are offered there meanwhile, or none without an address."""
    if address is None:
        return _count(run, observer, seconds) | {"offered_per_s": 0.0}
    peer = start_hostile_peer(run, seconds + 2 * _SETTLES_S, per_s, address)
    _connect(peer, unread)
    time.sleep(_SETTLES_S)
    counts = _count(run, observer, seconds)
    sent = json.loads(peer.communicate(timeout=_BEGINS_S + seconds)[0].splitlines()[-1])
    return counts | {"offered_per_s": sent["sent"] / sent["seconds"]}


def _connect(peer: subprocess.Popen, unread: Subscriber) -> None:
    """Until the peer says that it is connected: ZeroMQ takes a peer on only while its socket is asked for something."""
    assert peer.stdout is not None
    end_s = time.monotonic() + _BEGINS_S
    while not select.select([peer.stdout], [], [], 0.02)[0]:
        wait([unread], [], 0.0)
        if time.monotonic() > end_s:
            peer.kill()
            raise UserError(f"the hostile peer did not connect within {_BEGINS_S:g} s: the machine is too busy.")
    peer.stdout.readline()


def _count(run: ChaosRun, observer: Observer, seconds: float) -> dict[str, float]:
    """A second: sets, and by camera the sets that have it, and the worker's processor time; and what all processes of
    the run together take for a set."""
    worker, everyone = run.pid_of("worker"), list(run.processes())
    began_cpu_s, began_all_s = cpu_s(worker), sum(map(cpu_s, everyone))
    first, began_s = len(observer.sets), time.monotonic()
    time.sleep(seconds)
    heard, took_s = observer.sets[first:], time.monotonic() - began_s
    counts = {name: sum(each.views >> n & 1 for each in heard) for n, name in enumerate(run.camera_ids)}
    rates = {name: round(count / took_s, 2) for name, count in (counts | {"sets": len(heard)}).items()}
    all_ms = 1e3 * (sum(map(cpu_s, everyone)) - began_all_s)
    return rates | {
        "cores": round((cpu_s(worker) - began_cpu_s) / took_s, 3),
        "cpu_ms_per_set": round(all_ms / max(1, len(heard)), 2),
    }
