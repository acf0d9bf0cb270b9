"""OSC 1.0 over UDP: a bundle for each hand, and one message for each event.

M. Wright, "The Open Sound Control 1.0 Specification", 2002.
"""

from pythonosc.osc_bundle import OscBundle
from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

from app.streams.datagrams import Datagrams
from app.streams.json_message import unix_time_s
from app.streams.kinds import StreamAddress
from app.streams.streamed import StreamContext, StreamedHand, StreamedSet
from app.transport.messages import Event

INT, LONG, FLOAT, DOUBLE, TEXT = "ihfds"


class OscSender:
    """A StreamSender. Metres in the rig's world, times as in the native stream."""

    def __init__(self, address: StreamAddress, context: StreamContext) -> None:
        self._datagrams = Datagrams(address)

    def send(self, poses: StreamedSet) -> None:
        told = osc_message(
            "/usthand/set",
            (INT, poses.set_index),
            (LONG, poses.time_ns),
            (DOUBLE, unix_time_s(poses.clock_ns)),
            (INT, len(poses.hands)),
        )
        self._datagrams.send(osc_bundle(told).dgram)
        for hand in poses.hands:
            self._datagrams.send(osc_bundle(*_messages(hand)).dgram)

    def tell(self, event: Event) -> None:
        said = (event.kind, event.subject, event.hand, event.state, event.detail)
        self._datagrams.send(
            osc_message("/usthand/event", (LONG, event.time_ns), *((TEXT, each) for each in said)).dgram
        )

    def close(self) -> None:
        self._datagrams.send(osc_message("/usthand/end").dgram)
        self._datagrams.close()


def _messages(hand: StreamedHand) -> list[OscMessage]:
    place, track = f"/usthand/{hand.side}", (INT, hand.track_id)

    def floats(values) -> list[tuple[str, float]]:
        return [(FLOAT, value) for value in values.ravel().tolist()]

    times = [(LONG, hand.time_ns), (LONG, hand.seen_time_ns)]
    return [
        osc_message(f"{place}/state", track, (TEXT, hand.state), *times),
        osc_message(f"{place}/joints", track, *floats(hand.joints_world_m)),
        osc_message(f"{place}/std", track, *floats(hand.joint_std_m)),
        osc_message(f"{place}/confidence", track, *floats(hand.confidence)),
        osc_message(f"{place}/gestures", track, *((TEXT, each) for each in hand.gestures)),
    ]


def osc_message(address: str, *values: tuple[str, int | float | str]) -> OscMessage:
    """With its values, each after its type."""
    builder = OscMessageBuilder(address)
    for kind, value in values:
        builder.add_arg(value, kind)
    return builder.build()


def osc_bundle(*messages: OscMessage) -> OscBundle:
    """For its receiver to take at once."""
    builder = OscBundleBuilder(IMMEDIATELY)
    for message in messages:
        builder.add_content(message)
    return builder.build()
