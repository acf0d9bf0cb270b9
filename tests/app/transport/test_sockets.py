"""The ZeroMQ ends over real sockets: what each guarantees."""

import socket
import threading
import time

import msgspec
import pytest
import zmq

from app.transport.clock import ClockOffset, answer_clock
from app.transport.keys import Keys, close_authenticator, make_keys
from app.transport.messages import CameraStatus, Pace, decode
from app.transport.sockets import (
    CommandClient,
    CommandServer,
    NewestPublisher,
    Publisher,
    Subscriber,
    check_address,
    wait,
)
from calibration.errors import UserError
from tests.support.live_run import free_port, simulated_rig, usthand


def status(number: int, detail: str = "") -> CameraStatus:
    return CameraStatus(camera_id="cam", state="streaming", detail=detail, last_sequence=number)


def received(subscriber: Subscriber, count: int, seconds: float = 60.0) -> list:
    messages = []
    end = time.monotonic() + seconds
    while len(messages) < count and time.monotonic() < end:
        wait([subscriber], [], 0.05)
        messages += [message for message, _ in subscriber.receive()]
    return messages


def connected(publisher: Publisher, subscribers: int = 1) -> bool:
    end = time.monotonic() + 60
    while publisher.subscribers() < subscribers and time.monotonic() < end:
        time.sleep(0.01)
    return publisher.subscribers() == subscribers


@pytest.fixture
def ends(tmp_path):
    made = []
    yield made
    for end in made:
        end.close()
    close_authenticator()


def test_a_stream_arrives_whole_and_in_order(tmp_path, ends):
    publisher, subscriber = Publisher(), Subscriber()
    ends += [publisher, subscriber]
    publisher.bind(f"ipc://{tmp_path}/s")
    subscriber.connect(f"ipc://{tmp_path}/s")
    assert connected(publisher)
    for number in range(100):
        publisher.send(status(number))
    assert [message.last_sequence for message in received(subscriber, 100)] == list(range(100))


def test_a_subscriber_that_does_not_read_slows_nobody_and_holds_a_bounded_backlog(tmp_path, ends):
    publisher, slow, quick = Publisher(backlog=100), Subscriber(backlog=100), Subscriber()
    ends += [publisher, slow, quick]
    publisher.bind(f"ipc://{tmp_path}/s")
    slow.connect(f"ipc://{tmp_path}/s")
    quick.connect(f"ipc://{tmp_path}/s")
    assert connected(publisher, 2)
    for number in range(3000):
        publisher.send(status(number, "x" * 10_000))
        assert [message.last_sequence for message in received(quick, 1)] == [number]
    late = [message.last_sequence for message in received(slow, 3000, 0.5)]
    assert len(late) < 1500


def test_a_publisher_that_waits_does_so_for_its_subscriber(tmp_path, ends):
    publisher, subscriber = Publisher(backlog=4, waits=True), Subscriber(backlog=4)
    ends += [publisher, subscriber]
    publisher.bind(f"ipc://{tmp_path}/s")
    subscriber.connect(f"ipc://{tmp_path}/s")
    assert connected(publisher)
    thread = threading.Thread(target=lambda: [publisher.send(status(n, "x" * 100_000)) for n in range(300)])
    thread.start()
    time.sleep(0.3)
    assert thread.is_alive(), "it waits"
    assert [message.last_sequence for message in received(subscriber, 300)] == list(range(300))
    thread.join(60)


def test_a_subscriber_finds_its_publisher_again(tmp_path, ends):
    subscriber = Subscriber()
    ends.append(subscriber)
    subscriber.connect(f"ipc://{tmp_path}/s")
    for number in range(3):
        publisher = Publisher()
        publisher.bind(f"ipc://{tmp_path}/s")
        messages = []
        end = time.monotonic() + 60
        while not messages and time.monotonic() < end:
            publisher.send(status(number))
            messages = received(subscriber, 1, 0.05)
        assert messages == [status(number)]
        publisher.close()
        received(subscriber, 1000, 0.2)


def test_what_is_no_message_is_counted_and_skipped(tmp_path, ends):
    raw = zmq.Context.instance().socket(zmq.PUB)
    raw.bind(f"ipc://{tmp_path}/s")
    subscriber = Subscriber()
    ends += [raw, subscriber]
    subscriber.connect(f"ipc://{tmp_path}/s")
    time.sleep(0.3)
    raw.send(b"not msgpack at all")
    raw.send(msgspec.msgpack.encode({"type": "pace", "start_ns": "late"}))
    future = Pace(start_ns=0, origin_ns=0, allowed={})
    future.schema_version = 999
    raw.send(msgspec.msgpack.encode(future))
    raw.send(msgspec.msgpack.encode(Pace(start_ns=1, origin_ns=2, allowed={"a": 3})))
    assert received(subscriber, 1) == [Pace(start_ns=1, origin_ns=2, allowed={"a": 3})]
    assert subscriber.refused == 3


def test_a_peer_without_the_key_is_refused_and_one_with_it_is_heard(tmp_path, ends):
    make_keys(tmp_path / "keys")
    make_keys(tmp_path / "others")
    (tmp_path / "others" / "worker.key").write_text((tmp_path / "keys" / "worker.key").read_text())
    address = f"tcp://127.0.0.1:{free_port()}"
    subscriber = Subscriber(keys=Keys(tmp_path / "keys"))
    ends.append(subscriber)
    subscriber.bind(address)
    for keys, heard in ((None, False), (Keys(tmp_path / "others"), False), (Keys(tmp_path / "keys"), True)):
        publisher = Publisher(keys=keys)
        ends.append(publisher)
        publisher.connect(address)
        end = time.monotonic() + (5 if heard else 1)
        messages = []
        while time.monotonic() < end and not messages:
            publisher.send(status(1))
            messages = received(subscriber, 1, 0.05)
        assert bool(messages) is heard


def test_keys_are_never_overwritten_and_secret_ones_are_private(tmp_path):
    make_keys(tmp_path / "keys")
    assert (tmp_path / "keys" / "worker.key_secret").stat().st_mode & 0o077 == 0
    with pytest.raises(UserError, match="already"):
        make_keys(tmp_path / "keys")
    with pytest.raises(UserError, match="usthand keys"):
        Keys(tmp_path / "none")


def test_what_lacks_of_the_keys_is_named_with_where_it_comes_from(tmp_path):
    """Keys that are made on the machine that grabs fit no worker."""
    (tmp_path / "empty").mkdir()
    here, far = "tcp://127.0.0.1:5600", "tcp://192.168.0.10:5600"
    for connect, *keys in ((here, "--keys", tmp_path / "empty"), (here, "--keys", tmp_path / "none"), (far,)):
        done = usthand("grab", "cam_0", "--connect", connect, *keys)
        assert done.returncode == 2 and "`grabber.key_secret`" in done.stderr and "***" not in done.stderr
        assert "on the worker's machine" in done.stderr


def test_the_network_asks_for_keys(tmp_path):
    make_keys(tmp_path / "keys")
    check_address("tcp://127.0.0.1:5555", None)
    check_address("tcp://0.0.0.0:5555", Keys(tmp_path / "keys"))
    with pytest.raises(UserError, match="usthand keys"):
        check_address("tcp://0.0.0.0:5555", None)
    nowhere = ("tcp://10.0.0..5:5555", f"tcp://{'a' * 70}:5555", "tcp://ä..b:5555")
    for wrong in ("tcp://host", "udp://127.0.0.1:1", "127.0.0.1:5", "tcp://127.0.0.1:99999999", *nowhere):
        with pytest.raises(UserError, match="no address"):
            check_address(wrong, None)


def test_what_zeromq_takes_for_no_host_is_named(tmp_path):
    make_keys(tmp_path / "keys")
    done = usthand("grab", "cam_0", "--connect", "tcp://my worker:5600", "--keys", tmp_path / "keys")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "cannot connect to `tcp://my worker:560" in done.stderr and "Give another address" in done.stderr


def test_grabbers_connect_to_two_ports_and_so_to_no_file(tmp_path):
    check_address(f"ipc://{tmp_path}/poses", None)
    rig, file = simulated_rig(tmp_path / "rig.yaml", cameras=2), f"ipc://{tmp_path}/frames"
    for command in (("live", rig, "--no-viewer", "--listen", file), ("grab", "cam_0", "--connect", file)):
        done = usthand(*command)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert f"`{file}` is no address. Give tcp://HOST:PORT" in done.stderr


def test_the_clock_offset_is_found_within_its_own_bound(ends):
    """The client's clock is 1234 s behind; the offset must come out within the error it states, and that be small."""
    skew = 1_234_567_891_011
    server = CommandServer("tcp://127.0.0.1:*", lambda request: {"number": request["number"], **answer_clock()})
    client = CommandClient(server.address)
    ends += [server, client]
    done = threading.Event()

    def serve() -> None:
        while not done.is_set():
            wait([], [server], 0.05)
            server.serve()

    thread = threading.Thread(target=serve)
    thread.start()
    clock = ClockOffset(client, lambda: time.monotonic_ns() - skew)
    assert clock.measure(trips=50)
    offset, error = clock.best()
    done.set()
    thread.join()
    assert abs(offset - skew) <= error
    assert error < 5_000_000


def test_the_shortest_round_trip_wins_over_asymmetric_ones(ends):
    clock = ClockOffset(None, lambda: 0)  # type: ignore[arg-type]
    true = 5_000
    for out_ns, back_ns in ((9_000, 100), (100, 8_000), (120, 100), (4_000, 4_500)):
        clock.add(0, out_ns + true, out_ns + true + 50, out_ns + 50 + back_ns)
    offset, error = clock.best()
    assert abs(offset - true) <= error <= 110


def test_no_answer_is_none_in_time(ends):
    client = CommandClient(f"tcp://127.0.0.1:{free_port()}")
    ends.append(client)
    assert client.ask({"do": "clock"}, 0.1) is None


def test_a_server_that_is_away_for_long_blocks_nobody_and_is_asked_little_when_it_is_back(ends):
    address = f"tcp://127.0.0.1:{free_port()}"
    asked, answers = [], []

    def ask():
        client = CommandClient(address)
        answers.extend(client.ask({"do": "clock"}, 0) for _ in range(3000))
        answers.append(client.ask({"do": "clock"}, 60))
        client.close()

    asker = threading.Thread(target=ask, daemon=True)
    asker.start()
    end = time.monotonic() + 60
    while len(answers) < 3000 and time.monotonic() < end:
        time.sleep(0.01)
    assert answers == [None] * 3000
    server = CommandServer(address, lambda request: asked.append(request["number"]) or {"number": request["number"]})
    ends.append(server)
    while asker.is_alive() and time.monotonic() < end:
        wait([], [server], 0.05)
        server.serve()
    assert answers[-1] == {"number": 3001}
    assert len(asked) < 10


def test_a_clock_that_stood_still_is_measured_anew():
    """The other machine slept for 30 s: 64 good round trips of before say nothing any more."""
    clock = ClockOffset(None, lambda: 10**9)  # type: ignore[arg-type]
    for _ in range(64):
        clock.add(0, 1_000_100_000, 1_000_100_000, 200_000)
    assert clock.best()[0] == pytest.approx(1e9, abs=100_000)
    clock.add(0, 31_000_500_000, 31_000_500_000, 1_000_000)
    offset, error = clock.best()
    assert offset == pytest.approx(31e9, abs=error)


def test_a_slow_subscriber_gets_the_newest_message_and_no_queue(ends):
    """As docs/messages.md has it: 300 messages of the size of two hands are sent while it does something else."""
    publisher = NewestPublisher("tcp://127.0.0.1:*")
    client = zmq.Context.instance().socket(zmq.SUB)
    client.setsockopt(zmq.CONFLATE, 1)
    client.setsockopt(zmq.SUBSCRIBE, b"")
    client.connect(publisher.address)
    ends += [publisher, client]
    while not client.poll(20):
        publisher.send(status(-1))
    for number in range(300):
        publisher.send(status(number, "x" * 80_000))
    got = []
    while not got or got[-1] != 299:
        assert client.poll(5000)
        got.append(decode(client.recv()).last_sequence)  # pyright: ignore[reportAttributeAccessIssue]
        time.sleep(0.05)
    assert len(got) < 20


def test_a_file_or_another_programs_socket_is_not_removed_to_listen_there(tmp_path, ends):
    file = tmp_path / "notes.txt"
    file.write_text("kept")
    with pytest.raises(UserError, match=r"notes.txt`: there is a file of that name"):
        NewestPublisher(f"ipc://{file}")
    assert file.read_text() == "kept"
    first = Publisher()
    ends.append(first)
    first.bind(f"ipc://{tmp_path}/s")
    second = Publisher()
    ends.append(second)
    with pytest.raises(UserError, match="another program does"):
        second.bind(f"ipc://{tmp_path}/s")
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "left"))
    left.close()
    second.bind(f"ipc://{tmp_path}/left")


def test_an_ipv6_address_is_one(ends):
    probe = socket.socket(socket.AF_INET6)
    try:
        probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    finally:
        probe.close()
    check_address("tcp://[::1]:5555", None)
    publisher, subscriber = Publisher(), Subscriber()
    server = CommandServer("tcp://[::1]:*", lambda request: {"number": request["number"]})
    client = CommandClient(server.address)
    ends += [publisher, subscriber, server, client]
    subscriber.connect(publisher.bind("tcp://[::1]:*"))
    assert connected(publisher)
    publisher.send(status(7))
    assert [message.last_sequence for message in received(subscriber, 1)] == [7]
    assert client.ask({}, 0.0) is None
    server.serve()
