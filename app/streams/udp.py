"""UDP: a line of JSON in each datagram."""

from app.streams.datagrams import Datagrams
from app.streams.json_message import end_json, event_json, hands_json
from app.streams.kinds import StreamAddress
from app.streams.streamed import StreamContext, StreamedSet
from app.transport.messages import Event


class UdpSender:
    """A StreamSender."""

    def __init__(self, address: StreamAddress, context: StreamContext) -> None:
        self._datagrams = Datagrams(address)

    def send(self, poses: StreamedSet) -> None:
        self._datagrams.send(hands_json(poses) + b"\n")

    def tell(self, event: Event) -> None:
        self._datagrams.send(event_json(event) + b"\n")

    def close(self) -> None:
        self._datagrams.send(end_json() + b"\n")
        self._datagrams.close()
