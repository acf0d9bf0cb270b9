"""Any bytes, on every kind of socket and to every small reader: taken, or refused; what is good is heard after them."""

import contextlib
import time
from functools import partial
from pathlib import Path

import pytest
import yaml
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.assembly.intake_sockets import answer_grabber
from app.recording.process import check_take_name
from app.sources.jpeg_header import jpeg_size
from app.transport.clock import ClockOffset, answer_clock
from app.transport.messages import (
    CameraStatus,
    MessageRefused,
    decode,
    decode_plain,
    decode_request,
    encode,
    encode_plain,
)
from app.transport.sockets import (
    CommandClient,
    CommandServer,
    Publisher,
    Subscriber,
    check_address,
    ipc_address,
    is_loopback,
    wait,
)
from calibration.camera_names import camera_number
from calibration.errors import UserError
from calibration.plain_json import parse_json
from calibration.plain_yaml import parse_yaml
from models.simulation.simulated_rig import ring_rig

FEW = settings(
    max_examples=25,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
GOOD = CameraStatus(camera_id="cam_0", state="streaming")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=8) | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
PARTS = st.lists(st.binary(max_size=80) | VALUES.map(lambda value: encode_plain({"type": value})), max_size=4)


def raw(kind: int, address: str, binds: bool = False) -> zmq.Socket:
    peer = zmq.Context.instance().socket(kind)
    peer.set(zmq.LINGER, 0)
    if binds:
        peer.bind(address)
    else:
        peer.connect(address)
    return peer


@FEW
@given(PARTS.filter(bool))
def test_a_subscriber(tmp_path: Path, parts: list[bytes]) -> None:
    address = ipc_address(tmp_path / f"s{time.monotonic_ns()}")
    subscriber = Subscriber()
    subscriber.bind(address)
    peer = raw(zmq.XPUB, address)
    try:
        while not peer.poll(0):
            wait([subscriber], [], 0.01)
        peer.send_multipart(parts)
        peer.send(encode(GOOD))
        heard = []
        end = time.monotonic() + 30
        while GOOD not in heard and time.monotonic() < end:
            wait([subscriber], [], 0.1)
            heard += [message for message, _ in subscriber.receive()]
        assert heard[-1] == GOOD
    finally:
        peer.close()
        subscriber.close()


@FEW
@given(PARTS.filter(bool))
def test_a_server(tmp_path: Path, parts: list[bytes]) -> None:
    server = CommandServer(ipc_address(tmp_path / f"c{time.monotonic_ns()}"), lambda request: {**request, "heard": 1})
    peer, client = raw(zmq.DEALER, server.address), raw(zmq.DEALER, server.address)
    try:
        peer.send_multipart(parts)
        client.send(encode_plain({"number": 1}))
        end = time.monotonic() + 30
        while not client.poll(0) and time.monotonic() < end:
            wait([], [server], 0.1)
            server.serve()
        assert decode_plain(client.recv())["heard"] == 1
    finally:
        for each in (peer, client, server):
            each.close()


def test_a_server_that_tells_what_it_was_asked_is_asked_what_is_nested_as_deep_as_can_be_read(tmp_path: Path) -> None:
    server = CommandServer(ipc_address(tmp_path / "c"), partial(answer_grabber, ring_rig(2), lambda _: False))
    peer, client = raw(zmq.DEALER, server.address), raw(zmq.DEALER, server.address)
    # Somewhere there what was just read is too deep to be told.
    for depth in range(800, 1001):
        peer.send(b"\x81\xa2do" + b"\x91" * depth + b"\x01")
    client.send(encode_plain({"do": ["clock"]}))
    client.send(encode_plain({"do": "clock", "number": 1}))
    end = time.monotonic() + 60
    while not client.poll(0) and time.monotonic() < end:
        wait([], [server], 0.1)
        server.serve()
    assert decode_plain(client.recv())["number"] == 1
    for each in (peer, client, server):
        each.close()


@FEW
@given(st.binary(max_size=80) | VALUES.map(lambda value: encode_plain({"number": value, "received_ns": value})))
def test_a_client_and_the_clock(tmp_path: Path, said: bytes) -> None:
    address = ipc_address(tmp_path / f"r{time.monotonic_ns()}")
    server = raw(zmq.ROUTER, address, binds=True)
    client = CommandClient(address)
    try:
        clock = ClockOffset(client)
        client._socket.send(b"")
        peer, _ = server.recv_multipart()
        server.send_multipart([peer, said])
        server.send_multipart([peer, encode_plain({"number": 1, **answer_clock()})])
        assert clock.measure(timeout_s=30)
    finally:
        client.close()
        server.close()


@FEW
@given(st.lists(st.binary(max_size=20).filter(lambda data: data[:1] not in (b"\x00", b"\x01")), max_size=4))
def test_a_publisher(tmp_path: Path, said: list[bytes]) -> None:
    publisher = Publisher()
    address = publisher.bind(ipc_address(tmp_path / f"p{time.monotonic_ns()}"))
    peer = raw(zmq.XSUB, address)
    try:
        for data in said:
            peer.send(data)
        peer.send(b"\x01")
        end = time.monotonic() + 30
        while not publisher.subscribers() and time.monotonic() < end:
            time.sleep(0.001)
        assert publisher.subscribers() == 1
        publisher.send(GOOD)
        assert decode(peer.recv()) == GOOD
    finally:
        peer.close()
        publisher.close()


@FEW
@given(st.binary(max_size=200))
def test_readers_of_bytes(data: bytes) -> None:
    for read, refusals in (
        (decode, MessageRefused),
        (decode_plain, MessageRefused),
        (decode_request, MessageRefused),
        (parse_json, ValueError),
    ):
        with contextlib.suppress(refusals):
            read(data)
    for start in (data, b"\xff\xd8" + data, b"\xff\xd8\xff\xc0" + data):
        assert jpeg_size(memoryview(start)) is None or len(jpeg_size(memoryview(start)) or ()) == 2


@FEW
@given(st.text(max_size=60) | st.text(alphabet="{}[]:,&*!|>-?# \n'\"<aé01.", max_size=60))
def test_readers_of_text(text: str) -> None:
    for read, refusals in (
        (parse_yaml, (yaml.YAMLError,)),
        (lambda text: check_address(text, None), (UserError,)),
        (lambda text: check_address(f"tcp://{text}", None), (UserError,)),
        (is_loopback, ()),
        (check_take_name, (UserError,)),
        (camera_number, ()),
    ):
        with contextlib.suppress(*refusals):
            read(text)


def test_what_is_sent_to_readers_is_not_all_refused() -> None:
    assert parse_yaml("a: [1]") == {"a": [1]}
    with pytest.raises(UserError):
        check_address("tcp://0.0.0.0:5600", None)
