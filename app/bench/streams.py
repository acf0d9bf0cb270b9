"""What a stream adds, from a published pose to a local receiver, and what one that stopped reading costs the worker."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from functools import lru_cache

import msgspec
import numpy as np

from app.bench.stream_receivers import HANDS, RECEIVERS, Receiver, broker, free_port
from app.run.process import start_process, stop
from app.run.settings import RunSettings, run_folder
from app.run.supervisor import Supervisor
from app.streams.kinds import LOOPBACK, STREAMS
from app.transport.messages import HandPose, PoseSet
from app.transport.sockets import Publisher
from app.worker.statistics import rounded
from calibration.errors import UserError
from models.hand.fitter import HandFitter
from models.simulation.hands import hands_at
from models.simulation.simulated_rig import ring_rig

_WARM_UP = 30
_LOST_S = 1.0
_STARTS_S = 30.0
_STD_M = 0.002


def installed() -> list[str]:
    """The streams whose libraries are there, and for MQTT a broker."""
    found = []
    for name, kind in STREAMS.items():
        try:
            kind.check_library()
        except UserError:
            continue
        if name != "mqtt" or broker() is not None:
            found.append(name)
    return found


def bench(names: Sequence[str], seconds: float, rate_hz: float) -> dict:
    """`latency` has a row for each stream, `worker` one for each way of reading them all.

    Raises KeyboardInterrupt where this process is told to end, UserError where a run fails.
    """
    start_process("usthand")
    latency = [_latency(name, seconds, rate_hz) for name in names]
    return {
        "rate_hz": rate_hz,
        "latency": latency,
        "worker": [_worker(names, reads, seconds, rate_hz) for reads in ("no streams", "all read", "none reads")],
    }


def _latency(name: str, seconds: float, rate_hz: float) -> dict:
    """Of sets that are published here to the stream's process, at a rate, each received before the next."""
    settings = RunSettings(estimator="simulated", hands=HANDS)
    with run_folder(ring_rig(2), settings) as folder:
        publisher, events = Publisher(), Publisher()
        publisher.bind(folder.poses_address)
        events.bind(folder.events_address)
        port = free_port()
        receiver = RECEIVERS[name](port)
        command = [sys.executable, "-m", "app.streams.process", str(folder.path), str(os.getpid())]
        with subprocess.Popen([*command, f"{name}://{LOOPBACK}:{port}"]) as process:
            try:
                _wait_for_subscriber(publisher, process)
                publisher.send(_pose_set(-1))
                publisher.send(_pose_set(0))  # LSL has outlets from the first hands on
                receiver.connect()
                while receiver.receive(0.1):
                    pass
                latencies_ms = _measure(publisher, receiver, round(seconds * rate_hz), rate_hz)
            finally:
                process.terminate()
                process.wait()
                receiver.close()
                publisher.close()
                events.close()
    known = latencies_ms[np.isfinite(latencies_ms)]
    return {
        "stream": name,
        "p50_ms": rounded(float(np.percentile(known, 50)) if len(known) else None, 3),
        "p99_ms": rounded(float(np.percentile(known, 99)) if len(known) else None, 3),
        "sets": len(latencies_ms),
        "lost": len(latencies_ms) - len(known),
    }


def _measure(publisher: Publisher, receiver: Receiver, sets: int, rate_hz: float) -> np.ndarray:
    """Milliseconds (n,) from a pose as it is published to its last byte as received; NaN where it did not come."""
    latencies_ms = []
    next_s = time.monotonic()
    for index in range(_WARM_UP + sets):
        if stop.is_set():
            raise KeyboardInterrupt
        next_s = max(next_s + 1 / rate_hz, time.monotonic())
        time.sleep(max(0.0, next_s - time.monotonic()))
        message = _pose_set(index)
        began_ns = time.monotonic_ns()
        publisher.send(message)
        came = receiver.receive(_LOST_S)
        latencies_ms.append((time.monotonic_ns() - began_ns) / 1e6 if came else np.nan)
    return np.array(latencies_ms[_WARM_UP:])


def _pose_set(index: int) -> PoseSet:
    """The demo's hands, as a worker publishes them."""
    now_ns, fits = time.monotonic_ns(), _fits()
    hands = [
        msgspec.convert(
            {
                "hand": side,
                "track_id": number,
                "capture_time_ns": now_ns,
                "joints_world_m": joints_m.tolist(),
                "covariance_m2": np.tile(_STD_M**2 * np.eye(3), (21, 1, 1)).tolist(),
                "confidence": [1.0] * 21,
                "views": [],
                "fit": fits[side],
            },
            HandPose,
        )
        for number, (side, joints_m) in enumerate(hands_at(index / 30).items())
    ]
    return PoseSet(
        set_index=index,
        reference_time_ns=now_ns,
        spread_ns=0,
        hands=hands,
        cameras={},
        hops_ns={"grab": now_ns, "published": now_ns},
        stage_ms={},
        estimator="bench",
        rig_id="bench",
        definition="anatomical",
    )


@lru_cache(maxsize=1)
def _fits() -> dict[str, dict]:
    """Of the demo's hands at the beginning, as a worker with a mesh publishes them."""
    fits = {}
    for side, joints_m in hands_at(0).items():
        fitter = HandFitter(side)
        fit = fitter.fit(joints_m)
        assert fit is not None
        about = {"hinges_rad": fit.angles_rad, "T_world_hand": fit.T_world_hand, "shape": fitter.shape}
        fits[side] = {name: values.tolist() for name, values in about.items()}
    return fits


def _wait_for_subscriber(publisher: Publisher, process: subprocess.Popen) -> None:
    end = time.monotonic() + _STARTS_S
    while publisher.subscribers() < 1:
        if process.poll() is not None or time.monotonic() > end:
            raise UserError("a stream's process did not start, for the reason above.")
        time.sleep(0.01)


def _worker(names: Sequence[str], reads: str, seconds: float, rate_hz: float) -> dict:
    """A live run of simulated cameras with all streams, whose receivers connect and then read or do not."""
    rig, done = ring_rig(4, fps=rate_hz), threading.Event()
    ports = {name: free_port() for name in names} if reads != "no streams" else {}
    receivers = {name: RECEIVERS[name](port) for name, port in ports.items()}
    streams = [f"{name}://{LOOPBACK}:{port}" for name, port in ports.items()]
    threads = [
        threading.Thread(target=_connect, args=(receiver, reads == "all read", done), daemon=True)
        for receiver in receivers.values()
    ]
    for thread in threads:
        thread.start()
    outcome = Supervisor(rig, RunSettings(estimator="simulated", mesh=False, streams=streams), None).run(seconds)
    done.set()
    for thread in threads:
        thread.join()
    if stop.is_set():
        raise KeyboardInterrupt
    summary = outcome.summary
    if "latency_ms" not in summary:
        raise UserError("a run beside the streams failed, for the reason above.")
    return {
        "receivers": reads,
        "sets_per_s": summary["fps"],
        "latency_p50_ms": summary["latency_ms"]["p50"],
        "latency_p99_ms": summary["latency_ms"]["p99"],
    }


def _connect(receiver: Receiver, reads: bool, done: threading.Event) -> None:
    """Connect as soon as the stream is there, then read or stand still until the run is over."""
    while not done.is_set():
        try:
            receiver.connect()
            break
        except (OSError, IndexError, TimeoutError):
            time.sleep(0.05)
    while not done.is_set():
        if not reads:
            done.wait()
        elif not _received(receiver):
            break
    receiver.close()


def _received(receiver: Receiver) -> bool:
    """False once there is nothing more to come."""
    try:
        receiver.receive(0.2)
    except Exception:
        return False
    return True
