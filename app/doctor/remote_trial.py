"""The cameras that other machines grab: what arrives of them in some seconds, and how their machines' clocks run.

It listens as a live run does, so each `usthand grab` connects to it as to a worker.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from app.assembly.intake_sockets import answer_grabber, network_subscriber
from app.doctor.finding import Finding, Findings
from app.doctor.limits import DoctorLimits
from app.doctor.rig_trial import CameraTrial, judge_trial
from app.sources.source import Stamp
from app.transport.keys import Keys
from app.transport.messages import CameraStatus, FrameHeader
from app.transport.sockets import CommandServer, next_port, wait
from calibration.rig import Rig

_ARRIVE_S = 30.0
"""So long a grabber is waited for: one that found no worker ends, and is started anew."""
_POLL_S = 0.1
_CABLE = "ping HOST   (of that machine; a cable instead of radio, a switch with less on it)"
_CHRONY = "sudo apt-get install chrony   (on each machine)"


@dataclass(frozen=True, kw_only=True)
class ClockReading:
    """Of another machine's clock at `time_ns` of this one's: this one's less that one's, with the bound of its error;
    `date_ahead_ns`, how far its date is before this machine's, None where it does not tell."""

    time_ns: int
    offset_ns: int
    error_ns: int
    date_ahead_ns: int | None


@dataclass(kw_only=True)
class RemoteTrial:
    """What came of one camera. `refused`: why its grabber could not open it, until it could."""

    camera: CameraTrial = field(default_factory=CameraTrial)
    clock: list[ClockReading] = field(default_factory=list)
    until: float | None = None
    refused: str = ""

    def take(self, message: FrameHeader | CameraStatus) -> None:
        if isinstance(message, FrameHeader):
            stamp = Stamp(sequence=message.sequence, capture_time_ns=message.capture_time_ns,
                          grab_time_ns=message.grab_time_ns, recorded=message.recorded)  # fmt: skip
            self.camera.stamps.append(stamp)
            self.camera.mode = f"{message.width}x{message.height}, {message.encoding}, over the network"
            return
        self.camera.corrupt = message.corrupt
        if message.state == "lost":
            self.camera.failure = message.detail or "lost"
        if message.state in ("failed", "streaming"):
            self.refused = message.detail
        if message.clock_offset_ns:
            ahead = message.date_ns - time.time_ns() if message.date_ns else None
            reading = ClockReading(time_ns=time.monotonic_ns(), offset_ns=message.clock_offset_ns,
                                   error_ns=message.clock_error_ns, date_ahead_ns=ahead)  # fmt: skip
            self.clock.append(reading)


def try_remote_cameras(
    rig: Rig, listen: str, keys: Path | None, seconds: float, limits: DoctorLimits, arrive_s: float = _ARRIVE_S
) -> Findings:
    """Raises UserError where it cannot listen, or a key is missing."""
    trials = {camera.camera_id: RemoteTrial() for camera in rig.cameras if camera.remote}
    _listen(rig, listen, Keys(keys) if keys else None, trials, seconds, arrive_s)
    for camera_id, trial in trials.items():
        topic = f"camera {camera_id}"
        if trial.until is None:
            text = f"nothing came of it in {arrive_s:g} s"
            remedy = f"usthand grab {camera_id} --connect tcp://HOST:{listen.rpartition(':')[2]}   (on its machine)"
            yield Finding(topic, "problem", text, remedy)
            continue
        trial.camera.failure = trial.camera.failure or trial.refused
        yield from judge_trial(rig[camera_id], trial.camera, limits)
        yield judge_clock(topic, trial.clock, limits)


def _listen(
    rig: Rig, listen: str, keys: Keys | None, trials: dict[str, RemoteTrial], seconds: float, arrive_s: float
) -> None:
    subscriber = network_subscriber(rig, keys)
    server = None
    try:
        bound = subscriber.bind(listen)
        server = CommandServer(next_port(bound), partial(answer_grabber, rig, lambda _: False), keys)
        begun = time.monotonic()
        while any(time.monotonic() < (trial.until or begun + arrive_s) for trial in trials.values()):
            wait([subscriber], [server], _POLL_S)
            server.serve()
            for message, _ in subscriber.receive():
                if isinstance(message, FrameHeader | CameraStatus) and message.camera_id in trials:
                    trial = trials[message.camera_id]
                    trial.until = trial.until or time.monotonic() + seconds
                    trial.take(message)
    finally:
        subscriber.close()
        if server is not None:
            server.close()


def judge_clock(topic: str, readings: Sequence[ClockReading], limits: DoctorLimits) -> Finding:
    """One line on a machine's clock: how well its frames' times are known here, how it drifts, and its date."""
    if not readings:
        return Finding(topic, "problem", "its machine's clock was not measured: port + 1 is closed?", _CABLE)
    first, last = readings[0], readings[-1]
    error_ms = last.error_ns / 1e6
    told = f"its machine's clock is known to {error_ms:.2f} ms"
    level, remedy = ("warning", _CABLE) if error_ms > limits.clock_error_ms else ("ok", "")
    if last.time_ns > first.time_ns:
        passed_ns = last.time_ns - first.time_ns
        drift = (last.offset_ns - first.offset_ns) / passed_ns * 1e6
        bound = (last.error_ns + first.error_ns) / passed_ns * 1e6
        told += f", drifts by {drift:.0f} millionths (to {bound:.0f})"
        if abs(drift) - bound > limits.clock_drift:
            level, remedy = "warning", _CHRONY
    ahead = [reading.date_ahead_ns for reading in readings if reading.date_ahead_ns is not None]
    if ahead:
        # What was delayed least on its way: the largest.
        ahead_ms = max(ahead) / 1e6
        told += f"; its date is {abs(ahead_ms):.0f} ms {'before' if ahead_ms > 0 else 'behind'} this machine's"
        if abs(ahead_ms) > limits.clock_ms:
            level, remedy = "warning", _CHRONY
    return Finding(topic, level, told, remedy)
