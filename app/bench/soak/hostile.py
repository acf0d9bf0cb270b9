"""What one peer that has the keys and sends no good message costs the others: the same run without it and with it."""

import json
import os
import tempfile
import time
from pathlib import Path

from app.bench.soak.faults import start_hostile_peer
from app.bench.soak.observer import Observer
from app.bench.soak.processes import cpu_s
from app.bench.soak.rig_run import ChaosRun
from app.worker.statistics import rounded
from calibration.errors import UserError

_BEGINS_S = 120.0
_SETTLES_S = 3.0


def bench(cameras: int, fps: float, per_s: float, seconds: float) -> dict:
    """`per_s` messages a second are offered for `seconds`, in the middle of a run, as its machine may get busier.

    Raises UserError where the run does not begin."""
    with tempfile.TemporaryDirectory(prefix="uh-") as folder:
        run = ChaosRun(Path(folder), cameras, fps, records=False)
        try:
            observer = Observer(run.poses_address, run.camera_ids)
            if observer.wait_for(None, time.monotonic_ns(), _BEGINS_S) is not None:
                run.start_remote_camera()
            if observer.wait_for(run.remote, time.monotonic_ns(), _BEGINS_S) is None:
                raise UserError(f"the run did not begin; its log:\n{run.log.read_text()[-2000:]}")
            time.sleep(_SETTLES_S)
            rounds = [_round(run, observer, seconds / 2, per_s * hostile) for hostile in (0, 1, 1, 0)]
            observer.close()
        finally:
            run.end()
    without, beside = (_mean([rounds[first], rounds[second]]) for first, second in ((0, 3), (1, 2)))
    pairs: dict[str, dict[str, float | None]] = {
        name: {"without": without[name], "with": beside[name]} for name in without
    }
    for name, pair in pairs.items():
        pair["ratio"] = rounded(beside[name] / without[name], 3) if without[name] else 0.0
    return {
        "offered_per_s": round(beside["offered_per_s"]),
        "cameras": {name: pairs[name] for name in run.camera_ids},
        "sets": pairs["sets"],
        "worker_cores": pairs["cores"],
        "load": round(os.getloadavg()[0], 1),
    }


def _mean(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(sum(each[name] for each in rounds) / len(rounds), 3) for name in rounds[0]}


def _round(run: ChaosRun, observer: Observer, seconds: float, per_s: float) -> dict[str, float]:
    """So many messages a second are offered meanwhile, or none."""
    if not per_s:
        return _count(run, observer, seconds) | {"offered_per_s": 0.0}
    peer = start_hostile_peer(run, seconds + 2 * _SETTLES_S, per_s)
    time.sleep(_SETTLES_S)
    counts = _count(run, observer, seconds)
    sent = json.loads(peer.communicate(timeout=60 + seconds)[0])
    return counts | {"offered_per_s": sent["sent"] / sent["seconds"]}


def _count(run: ChaosRun, observer: Observer, seconds: float) -> dict[str, float]:
    """A second: sets, and by camera the sets that have it; and the worker's processor time."""
    pid = run.pid_of("worker")
    began_cpu_s, first, began_s = cpu_s(pid), len(observer.sets), time.monotonic()
    time.sleep(seconds)
    heard, took_s = observer.sets[first:], time.monotonic() - began_s
    counts = {name: sum(each.views >> n & 1 for each in heard) for n, name in enumerate(run.camera_ids)}
    rates = {name: round(count / took_s, 2) for name, count in (counts | {"sets": len(heard)}).items()}
    return rates | {"cores": round((cpu_s(pid) - began_cpu_s) / took_s, 3)}
