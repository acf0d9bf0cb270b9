"""Chaos over a running rig, and what came of it: sets lost by cause, time to recover by kind, growth of processes."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.bench.soak.faults import do, recovered_otherwise
from app.bench.soak.growth import Growth
from app.bench.soak.observer import Observer
from app.bench.soak.rig_run import ChaosRun, temporary_folder
from app.bench.soak.schedule import KINDS, OF_WORKER, ChaosEvent, chaos
from app.worker.statistics import rounded
from calibration.errors import UserError


@dataclass(frozen=True, kw_only=True)
class SoakSettings:
    """In seconds. `begins_s`: for all cameras to be seen. `recovers_s`: after that a fault is not recovered from.
    `quiet_s`: between two faults. `after_s`: sets lost so soon after a fault of a camera or a peer are its, and
    `after_worker_s` those after one of the worker. `worker_spared`: in this share of the run, its end, the worker is
    not killed, so that its growth is seen. `fps`: of the cameras."""

    begins_s: float = 120.0
    recovers_s: float = 90.0
    quiet_s: float = 2.0
    after_s: float = 0.5
    after_worker_s: float = 3.0
    worker_spared: float = 0.5
    fps: float = 30.0


@dataclass(frozen=True, kw_only=True)
class Fault:
    """An event as it was: from when to when on the monotonic clock, and how long after it all was well, if ever."""

    event: ChaosEvent
    begin_ns: int
    end_ns: int
    recovered_s: float | None


def soak(
    minutes: float,
    cameras: int,
    seed: int,
    told: Callable[[str], None],
    settings: SoakSettings = SoakSettings(),
    log: Path | None = None,
) -> dict:
    """Run it; `told` hears of each fault, and `log` gets what the run said. Raises UserError where the run does not
    begin."""
    with temporary_folder() as folder:
        run = ChaosRun(Path(folder), cameras, settings.fps)
        growth, faults = Growth(), []
        try:
            observer = _begin(run, settings)
            try:
                begin_ns = time.monotonic_ns()
                faults = _do_chaos(run, observer, growth, minutes, seed, told, settings)
                end_ns = time.monotonic_ns()
            finally:
                observer.close()
        finally:
            exit_code, summary, left = run.end()
            said = run.log.read_text(errors="replace")
            if log is not None:
                log.write_text(said)
        return {
            "minutes": minutes,
            "cameras": cameras,
            "seed": seed,
            "fps": settings.fps,
            **_sets(observer, faults, settings, begin_ns, end_ns),
            "causes": {kind: row for kind in KINDS if (row := _of_kind(kind, faults))},
            "growth": growth.result(),
            "exit_code": exit_code,
            "summary": {key: summary.get(key) for key in ("frame_sets", "fps", "latency_ms", "cameras", "mpjpe_mm")},
            "left_behind": left,
            "tracebacks": said.count("Traceback (most recent call last)"),
        }


def _begin(run: ChaosRun, settings: SoakSettings) -> Observer:
    observer = Observer(run.poses_address, run.camera_ids)
    if observer.wait_for(None, time.monotonic_ns(), settings.begins_s) is not None:
        run.start_remote_camera()
        began_ns = time.monotonic_ns()
        if all(observer.wait_for(each, began_ns, settings.begins_s) is not None for each in run.camera_ids):
            return observer
    observer.close()
    raise UserError(f"not every camera of the run was seen within {settings.begins_s:g} s; its log:\n{_end_of(run)}")


def _end_of(run: ChaosRun) -> str:
    return "\n".join(run.log.read_text(errors="replace").splitlines()[-20:])


def _do_chaos(
    run: ChaosRun,
    observer: Observer,
    growth: Growth,
    minutes: float,
    seed: int,
    told: Callable[[str], None],
    settings: SoakSettings,
) -> list[Fault]:
    begin_s, faults = time.monotonic(), []
    for event in chaos(seed, run.local, run.remote):
        share = (time.monotonic() - begin_s) / (60 * minutes)
        if share >= 1 or run.process.poll() is not None:
            break
        if event.kind == "worker_killed" and 0 < 1 - share < settings.worker_spared:
            continue
        begin_ns = time.monotonic_ns()
        do(run, event)
        end_ns = time.monotonic_ns()
        after_s = observer.wait_for(event.camera_id, end_ns, settings.recovers_s)
        if after_s is not None and not recovered_otherwise(run, event):
            after_s = None
        faults.append(Fault(event=event, begin_ns=begin_ns, end_ns=end_ns, recovered_s=after_s))
        well = "not recovered" if after_s is None else f"recovered in {after_s:.2f} s"
        told(f"{event.kind} {event.camera_id or ''} for {(end_ns - begin_ns) / 1e9:.1f} s: {well}")
        time.sleep(settings.quiet_s)
        growth.look(run.processes())
    return faults


def _of_kind(kind: str, faults: list[Fault]) -> dict:
    """Empty where there was none."""
    of = [fault for fault in faults if fault.event.kind == kind]
    seconds = [fault.recovered_s for fault in of if fault.recovered_s is not None]
    if not of:
        return {}
    return {
        "events": len(of),
        "recovered": len(seconds),
        "recover_s_median": rounded(float(np.median(seconds)) if seconds else None),
        "recover_s_most": rounded(max(seconds, default=None)),
    }


def _sets(observer: Observer, faults: list[Fault], settings: SoakSettings, begin_ns: int, end_ns: int) -> dict:
    """Moments without a set: during the faults, just after them, and beside them all. By cause, and how many."""
    period_ns = 1e9 / settings.fps
    missed = observer.missed_ns(period_ns, begin_ns, end_ns)
    beside, during, after, faulty_ns = np.ones(len(missed), bool), {}, {}, 0.0
    for fault in faults:
        kind = fault.event.kind
        grace_s = settings.after_worker_s if kind in OF_WORKER else settings.after_s
        # What died takes its time to come back: that is its own stretch.
        until_ns = fault.end_ns + 1e9 * _recovery_s(fault, settings)
        within = (missed >= fault.begin_ns) & (missed <= until_ns)
        just_after = (missed > until_ns) & (missed <= until_ns + 1e9 * grace_s)
        beside &= ~(within | just_after)
        during[kind] = during.get(kind, 0) + int(within.sum())
        after[kind] = after.get(kind, 0) + int(just_after.sum())
        faulty_ns += until_ns + 1e9 * grace_s - fault.begin_ns
    quiet = max(1.0, (end_ns - begin_ns - faulty_ns) / period_ns)
    return {
        "sets": int((end_ns - begin_ns) / period_ns),
        "lost": len(missed),
        "lost_during": during,
        "lost_after": after,
        "lost_beside": int(beside.sum()),
        "lost_beside_share": round(float(beside.sum()) / quiet, 5),
        "seconds_during": {
            kind: round(
                sum((f.end_ns - f.begin_ns) / 1e9 + _recovery_s(f, settings) for f in faults if f.event.kind == kind), 2
            )
            for kind in during
        },
    }


def _recovery_s(fault: Fault, settings: SoakSettings) -> float:
    return settings.recovers_s if fault.recovered_s is None else fault.recovered_s
