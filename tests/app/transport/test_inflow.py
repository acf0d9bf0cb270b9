"""What others send and nobody has read is bounded, however they send it, and so are their connections."""

import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from app.transport.inflow import Inflow, InflowSettings, _Found
from app.transport.messages import CameraStatus, encode_plain
from app.transport.sockets import CommandClient, CommandServer, NewestPublisher, Publisher, Subscriber, wait
from tests.app.transport.test_allowance import meet

_LARGEST = 1 << 17
_GOOD = CameraStatus(camera_id="cam_0", state="streaming")


def joined(address: str, kind: bytes) -> socket.socket:
    """A connection that speaks ZeroMQ's protocol as a socket of that kind, byte by byte (RFC 23)."""
    there = socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])))
    there.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32))
    there.recv(64, socket.MSG_WAITALL)
    ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind
    there.sendall(b"\x04" + bytes([len(ready)]) + ready)
    assert b"READY" in there.recv(200)
    there.setblocking(False)
    return there


@dataclass
class End:
    """One that listens, and what its owner does again and again."""

    address: str
    serve: Callable[[], object]
    inflow: Inflow
    close: Callable[[], None]
    peer: bytes


def subscriber() -> End:
    end = Subscriber(16, largest=_LARGEST)
    return End(end.bind("tcp://127.0.0.1:*"), lambda: list(end.receive()), end._inflow, end.close, b"PUB")


def server() -> End:
    end = CommandServer("tcp://127.0.0.1:*", dict)
    return End(end.address, end.serve, end._inflow, end.close, b"DEALER")


def publisher() -> End:
    end = Publisher()
    return End(end.bind("tcp://127.0.0.1:*"), lambda: end.send(_GOOD), end._inflow, end.close, b"SUB")


def newest() -> End:
    end = NewestPublisher("tcp://127.0.0.1:*")
    return End(end.address, lambda: end.send(_GOOD), end._inflow, end.close, b"SUB")


@pytest.fixture(params=[subscriber, server, publisher, newest])
def end(request: pytest.FixtureRequest) -> Iterator[End]:
    made = request.param()
    yield made
    made.close()


@pytest.mark.parametrize("size", [0, 60_000])
def test_a_message_whose_parts_never_end_ends_its_connection(end: End, size: int) -> None:
    peer = joined(end.address, end.peer)
    parts = (b"\x03" + struct.pack(">Q", size) + bytes(size)) * (10_000 if size == 0 else 1)
    end_s = time.monotonic() + 60
    sent = 0
    while not end.inflow.ended and time.monotonic() < end_s:
        end.serve()
        try:
            sent += peer.send(parts[sent % len(parts) :])
        except BlockingIOError:
            time.sleep(0.01)
        except OSError:
            break
    while not end.inflow.ended and time.monotonic() < end_s:
        time.sleep(0.01)
    assert end.inflow.ended == 1
    peer.close()


def test_bare_connections_are_ended_and_who_was_heard_goes_on() -> None:
    end = Subscriber(16)
    address = end.bind("tcp://127.0.0.1:*")
    good = Publisher()
    meet(good, end, address)
    heard = 0

    def go_on() -> None:
        nonlocal heard
        good.send(_GOOD)
        wait([end], [], 0.01)
        heard += len(list(end.receive()))

    most = InflowSettings().most_connections
    while not heard:
        go_on()
    bare = [socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) for _ in range(most + 50)]
    end_s = time.monotonic() + 60
    while end._inflow.ended < 51 and time.monotonic() < end_s:
        go_on()
    before = heard
    while heard < before + 20 and time.monotonic() < end_s:
        go_on()
    assert end._inflow.ended == 51
    assert heard == before + 20
    for each in (*bare, good, end):
        each.close()


def test_a_peer_whose_whole_messages_nobody_reads_is_slowed_by_the_network_alone() -> None:
    end, good = Subscriber(16, largest=_LARGEST), Publisher(100)
    meet(good, end, end.bind("tcp://127.0.0.1:*"))
    payload = bytes(_LARGEST)
    for _ in range(200):
        good.send(_GOOD, payload)
        time.sleep(0.002)
    heard, end_s = 0, time.monotonic() + 60
    while heard < 20 and time.monotonic() < end_s:
        wait([end], [], 0.1)
        heard += len(list(end.receive()))
    assert heard >= 20
    assert end._inflow.ended == 0
    end.close()
    good.close()


def test_requests_are_answered_for_as_long_as_one_asks() -> None:
    """More of them, in bytes, than may wait."""
    end = CommandServer("tcp://127.0.0.1:*", lambda request: {"number": request["number"]})
    client = CommandClient(end.address)
    request = encode_plain({"number": 1, "text": "x" * 60_000})
    for _ in range(60):
        client._socket.send(request)
        while not client._socket.poll(0):
            wait([], [end], 0.1)
            end.serve()
        client._socket.recv()
    assert end._inflow.ended == 0
    client.close()
    end.close()


def found(taken: int, port: int = 9) -> list[_Found]:
    return [_Found(7, ("10.0.0.7", port), taken)]


def read(inflow: Inflow, size: int) -> None:
    inflow._read[7] = inflow._read.get(7, 0) + size


def test_what_was_read_does_not_count_for_what_comes_later() -> None:
    inflow = Inflow(100, 1, 1)
    inflow.look(found(0))
    for sent in range(1, 101):
        read(inflow, 1000)  # of small messages it is counted as more
        inflow.look(found(sent))
    inflow.look(found(600))
    assert inflow.ended == 0
    inflow.look(found(601))
    assert inflow.ended == 1


def test_what_was_read_of_one_does_not_count_for_who_gets_its_descriptor() -> None:
    inflow = Inflow(100, 1, 1)
    read(inflow, 1000)
    inflow.look(found(400, port=9))
    inflow.look(found(500, port=10))
    assert inflow.ended == 0
    inflow.look(found(501, port=11))
    assert inflow.ended == 1


def test_while_nothing_waits_one_message_may_be_on_its_way() -> None:
    inflow = Inflow(100, 16, 1)
    inflow.look(found(300))
    inflow.look(found(600))
    assert inflow.ended == 0, "they may wait"
    inflow.read_all()
    inflow.look(found(600))
    assert inflow.ended == 1


def test_all_together_are_bounded_and_the_greatest_is_ended() -> None:
    inflow, ended = Inflow(100, 0, 2), []
    inflow._end = lambda descriptor, why, now_s: ended.append(descriptor)
    inflow.look([_Found(number, ("10.0.0.7", number), 200 + number) for number in range(5)])
    assert ended == [4, 3]
