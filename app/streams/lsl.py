"""Lab Streaming Layer: an outlet of 107 channels for each hand, with arms of 119, and one of event markers.

C. Kothe et al., "The lab streaming layer for synchronized multimodal recording", Imaging Neuroscience 3, 2025.
"""

import logging
import os
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from app.convert.hand_recording import ARM_POINTS
from app.streams.kinds import StreamAddress
from app.streams.streamed import StreamContext, StreamedHand, StreamedSet, arm_points, rms, wrist_deg
from app.transport.messages import ArmPose, Event
from calibration.hand import JOINT_NAMES, Side
from models.hand.wrist_angles import WRIST_ANGLE_NAMES

log = logging.getLogger(__name__)

STATES = ("absent", "seen", "held", "predicted")
"""A channel holds a state's place here."""
_AXES = "right-handed world axes of the rig, z up where its origin board lay flat"
_BUFFERED_S = 10
_CLOCK_READINGS = 64
_WARNINGS = -1


def channels(arms: bool) -> list[tuple[str, str, str]]:
    """Label, unit and type of each channel of a hand; with `arms` those of its arm come last."""
    joints = [name.replace(" ", "_") for name in JOINT_NAMES]
    places = [(f"{joint}_{axis}", "metres", f"Position{axis.upper()}") for joint in joints for axis in "xyz"]
    std = [(f"{joint}_std", "metres", "StandardDeviation") for joint in joints]
    confidence = [(f"{joint}_confidence", "share", "Confidence") for joint in joints]
    hand = [*places, *std, *confidence, ("track", "number", "Track"), ("state", "number", "State")]
    return hand + (_arm_channels() if arms else [])


def _arm_channels() -> list[tuple[str, str, str]]:
    labels = []
    for point in ARM_POINTS:
        labels += [(f"{point}_{axis}", "metres", f"Position{axis.upper()}") for axis in "xyz"]
        labels.append((f"{point}_std", "metres", "StandardDeviation"))
    labels += [(angle, "degrees", "Angle") for angle in WRIST_ANGLE_NAMES]
    return labels + [(f"{angle}_std", "degrees", "StandardDeviation") for angle in WRIST_ANGLE_NAMES]


Place = tuple[Side, int]
"""An outlet's: its side, and the number of the person, from 0."""


class Places:
    """Which hand each outlet sends, with as many outlets of each side as `people`.

    A hand keeps its outlet while it is followed as one of that side. One that finds none free waits until one is.
    """

    def __init__(self, people: int) -> None:
        sides: tuple[Side, ...] = ("left", "right")
        self.all: list[Place] = [(side, person) for person in range(people) for side in sides]
        self._tracks: dict[Place, int] = {}

    def of(self, hands: Sequence[StreamedHand]) -> dict[Place, StreamedHand]:
        """The hands of the next set, where they are."""
        there = {(hand.side, hand.track_id): hand for hand in hands}
        self._tracks = {place: track for place, track in self._tracks.items() if (place[0], track) in there}
        for hand in hands:
            free = [place for place in self.all if place[0] == hand.side and place not in self._tracks]
            if free and hand.track_id not in self._tracks.values():
                self._tracks[free[0]] = hand.track_id
        return {place: there[place[0], track] for place, track in self._tracks.items()}


class LslSender:
    """A StreamSender. Each set is a sample of every outlet, NaN where its hand is not there.

    Outlets are called `usthand_left` and `usthand_right`; of more people's, `usthand_left_2` and on.
    """

    def __init__(self, address: StreamAddress, context: StreamContext) -> None:
        configuration = _configure(address)
        import pylsl  # after its configuration was written

        self._lsl, self._context = pylsl, context
        self._clock = LslClock(pylsl.local_clock)
        self._places = Places(-(-context.hands // 2))
        self._outlets: dict[Place, pylsl.StreamOutlet] = {}
        markers = pylsl.StreamInfo(
            "usthand_events", "Markers", 1, pylsl.IRREGULAR_RATE, pylsl.cf_string, self._id("events")
        )
        self._markers = pylsl.StreamOutlet(markers)  # with the first outlet liblsl has read it
        if configuration is not None:
            configuration.unlink()

    def send(self, poses: StreamedSet) -> None:
        if not self._outlets:
            self._outlets = {place: self._outlet(_name(*place), poses) for place in self._places.all}
        hands = self._places.of(poses.hands)
        time_s = self._clock.lsl_s(poses.clock_ns)
        for place, outlet in self._outlets.items():
            outlet.push_sample(_sample(hands.get(place), self._context.arms), time_s)

    def tell(self, event: Event) -> None:
        said = (event.kind, event.subject, event.hand, event.state, event.detail)
        self._markers.push_sample([" ".join(each for each in said if each)], self._clock.lsl_s(event.time_ns))

    def close(self) -> None:
        self._outlets.clear()
        del self._markers

    def _id(self, name: str) -> str:
        """So that an inlet finds the outlet again after a restart."""
        return f"usthand-{self._context.rig_id}-{name}"

    def _outlet(self, name: str, poses: StreamedSet):
        labels = channels(self._context.arms)
        info = self._lsl.StreamInfo(
            name, "MoCap", len(labels), self._lsl.IRREGULAR_RATE, self._lsl.cf_float32, self._id(name)
        )
        about = info.desc()
        about.append_child_value("manufacturer", "UST-Hand live")
        for key, value in (
            ("estimator", self._context.estimator),
            ("rig", self._context.rig_id),
            ("axes", _AXES),
            ("definition", poses.definition),
            ("simulated", str(poses.simulated).lower()),
            ("states", " ".join(f"{number}={state}" for number, state in enumerate(STATES))),
        ):
            about.append_child_value(key, value)
        all_channels = about.append_child("channels")
        for label, unit, kind in labels:
            channel = all_channels.append_child("channel")
            channel.append_child_value("label", label)
            channel.append_child_value("unit", unit)
            channel.append_child_value("type", kind)
        return self._lsl.StreamOutlet(info, 0, _BUFFERED_S)


class LslClock:
    """LSL's clock minus the monotonic one, from the least disturbed of the last readings."""

    def __init__(self, local_clock) -> None:
        self._local_clock = local_clock
        self._readings: deque[tuple[int, float]] = deque(maxlen=_CLOCK_READINGS)

    def lsl_s(self, monotonic_ns: int) -> float:
        before_ns = time.monotonic_ns()
        lsl_s = self._local_clock()
        after_ns = time.monotonic_ns()
        self._readings.append((after_ns - before_ns, lsl_s - (before_ns + after_ns) / 2e9))
        return monotonic_ns / 1e9 + min(self._readings)[1]


def _name(side: Side, person: int) -> str:
    return f"usthand_{side}" if person == 0 else f"usthand_{side}_{person + 1}"


_NO_HAND = [float("nan")] * (len(channels(False)) - 1) + [0.0]
_NO_ARM = [float("nan")] * len(_arm_channels())


def _sample(hand: StreamedHand | None, arms: bool) -> list[float]:
    if hand is None:
        return _NO_HAND + (_NO_ARM if arms else [])
    told = (hand.joints_world_m.ravel(), hand.joint_std_m, hand.confidence)
    sample = [*np.concatenate(told).tolist(), float(hand.track_id), float(STATES.index(hand.state))]
    return sample + (_arm_sample(hand.arm) if arms else [])


def _arm_sample(arm: ArmPose | None) -> list[float]:
    """NaN where something is not known."""
    if arm is None:
        return _NO_ARM
    unknown = np.full(len(WRIST_ANGLE_NAMES), np.nan)
    points, wrist = arm_points(arm), wrist_deg(arm) or (unknown, unknown)
    nowhere = np.full(3, np.nan), np.full(3, np.nan)
    places = [points.get(name, nowhere) for name in ARM_POINTS]
    told = [value for place_m, std_m in places for value in (*place_m.tolist(), rms(std_m))]
    return [*told, *wrist[0].tolist(), *wrist[1].tolist()]


def _configure(address: StreamAddress) -> Path | None:
    """Tell liblsl its ports, and that hands on loopback are found from this host alone; returns the file, to be removed
    as soon as it was read. What the user's own configuration says stands instead, where LSLAPICFG names one."""
    if "LSLAPICFG" in os.environ:
        return None
    scope = "machine" if address.loopback else "site"
    text = f"[ports]\nBasePort = {address.port}\n[multicast]\nResolveScope = {scope}\n[log]\nlevel = {_WARNINGS}\n"
    with tempfile.NamedTemporaryFile("w", suffix=".cfg", prefix="usthand-lsl-", delete=False) as file:
        file.write(text)
    os.environ["LSLAPICFG"] = file.name
    return Path(file.name)
