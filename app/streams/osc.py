"""OSC 1.0 over UDP: a bundle for each hand, and one message for each event.

M. Wright, "The Open Sound Control 1.0 Specification", 2002. python-osc lays messages out; numbers, which are most of
them, are packed into the layout, which takes a tenth of the time.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache

from pythonosc.osc_message_builder import OscMessageBuilder

from app.streams.datagrams import Datagrams
from app.streams.json_message import unix_time_s
from app.streams.kinds import StreamAddress
from app.streams.streamed import StreamContext, StreamedHand, StreamedSet, arm_points, rms, wrist_deg
from app.transport.messages import ArmPose, Event
from calibration.hand import JOINTS

# OSC's letters are struct's, but for that of 64 bits.
_TO_STRUCT = str.maketrans("h", "q")
_AT_ONCE = b"#bundle\0" + struct.pack(">Q", 1)
_PLACES, _SHARES = "i" + "f" * 3 * JOINTS, "i" + "f" * JOINTS


class OscSender:
    """A StreamSender. Metres in the rig's world, times as in the native stream."""

    def __init__(self, address: StreamAddress, context: StreamContext) -> None:
        self._datagrams = Datagrams(address)

    def send(self, poses: StreamedSet) -> None:
        told = (poses.set_index, poses.time_ns, unix_time_s(poses.clock_ns), len(poses.hands))
        self._datagrams.send(osc_bundle(osc_numbers("/usthand/set", "ihdi", told)))
        for hand in poses.hands:
            self._datagrams.send(osc_bundle(*_messages(hand)))

    def tell(self, event: Event) -> None:
        said = (event.kind, event.subject, event.hand, event.state, event.detail)
        self._datagrams.send(osc_message("/usthand/event", "hsssss", (event.time_ns, *said)))

    def close(self) -> None:
        self._datagrams.send(osc_message("/usthand/end", "", ()))
        self._datagrams.close()


def _messages(hand: StreamedHand) -> list[bytes]:
    place, track = f"/usthand/{hand.side}", hand.track_id
    gestures = (track, *hand.gestures)
    return [
        osc_message(f"{place}/state", "ishh", (track, hand.state, hand.time_ns, hand.seen_time_ns)),
        osc_numbers(f"{place}/joints", _PLACES, (track, *hand.joints_world_m.ravel().tolist())),
        osc_numbers(f"{place}/std", _SHARES, (track, *hand.joint_std_m.tolist())),
        osc_numbers(f"{place}/confidence", _SHARES, (track, *hand.confidence.tolist())),
        osc_message(f"{place}/gestures", "i" + "s" * len(hand.gestures), gestures),
        *([] if hand.arm is None else _arm_messages(place, track, hand.arm)),
    ]


def _arm_messages(place: str, track: int, arm: ArmPose) -> list[bytes]:
    """What is known of a hand's arm."""
    messages = [
        osc_numbers(f"{place}/{name}", "iffff", (track, *place_m.tolist(), rms(std_m)))
        for name, (place_m, std_m) in arm_points(arm).items()
    ]
    wrist = wrist_deg(arm)
    if wrist is not None:
        messages.append(osc_numbers(f"{place}/wrist", "iffff", (track, *wrist[0].tolist(), *wrist[1].tolist())))
    return messages


def osc_message(address: str, types: str, values: Sequence[int | float | str]) -> bytes:
    """With values of the types i int32, h int64, f float32, d float64 and s text."""
    builder = OscMessageBuilder(address)
    for kind, value in zip(types, values, strict=True):
        builder.add_arg(value, kind)
    return builder.build().dgram


def osc_numbers(address: str, types: str, values: Sequence[float], name: str | None = None) -> bytes:
    """With an optional text, then numbers."""
    return _head(address, types, name) + struct.pack(f">{types.translate(_TO_STRUCT)}", *values)


def osc_bundle(*messages: bytes) -> bytes:
    """For its receiver to take at once."""
    return _AT_ONCE + b"".join(struct.pack(">i", len(message)) + message for message in messages)


@lru_cache(maxsize=256)
def _head(address: str, types: str, name: str | None) -> bytes:
    """All of a message but its numbers, which come last."""
    zeros = [0] * len(types)
    named = ("s" + types, [name, *zeros]) if name is not None else (types, zeros)
    message = osc_message(address, *named)
    return message[: len(message) - struct.calcsize(f">{types.translate(_TO_STRUCT)}")]
