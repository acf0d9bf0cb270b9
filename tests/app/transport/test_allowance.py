"""What a process reads of others is bounded, whatever they send, and each has its turn."""

import time

from app.transport.allowance import Allowance
from app.transport.messages import CameraStatus
from app.transport.sockets import Publisher, Subscriber, wait


def meet(publisher: Publisher, subscriber: Subscriber, address: str) -> None:
    """A subscriber greets those who connect as it waits."""
    publisher.connect(address)
    end = time.monotonic() + 60
    while not publisher.subscribers():
        assert time.monotonic() < end
        wait([subscriber], [], 0.01)


def test_so_many_a_second_and_a_tenth_of_them_at_once() -> None:
    now_s, used = 0.0, []
    allowance = Allowance(100.0, lambda: now_s)
    for _ in range(200):
        now_s += 0.01
        while allowance.left:
            allowance.use()
            used.append(now_s)
    assert len(used) == 200 + 10 - 1
    assert used[:10] == [0.01] * 10


def test_a_peer_that_floods_does_not_keep_another_from_being_heard() -> None:
    allowed = 400
    subscriber = Subscriber(16, allowance=Allowance(allowed))
    address = subscriber.bind("tcp://127.0.0.1:*")
    flood, quiet = Publisher(), Publisher()
    for publisher in (flood, quiet):
        meet(publisher, subscriber, address)
    heard, read, sent, began = 0, 0, 0, time.monotonic()
    while heard < 20 and time.monotonic() < began + 60:
        for _ in range(500):
            flood.send_parts([b"nothing"])
        if sent < 20:
            quiet.send(CameraStatus(camera_id="cam_0", state="streaming"))
            sent += 1
        wait([subscriber], [], 0.01)
        before = subscriber.refused
        heard += sum(isinstance(message, CameraStatus) for message, _ in subscriber.receive())
        read += subscriber.refused - before
    took_s = time.monotonic() - began
    assert heard == 20
    assert heard + read <= allowed * (took_s + 0.1) + 1
    for end in (subscriber, flood, quiet):
        end.close()


def test_a_message_beside_a_flood_is_among_the_next_that_are_read() -> None:
    """It was the hundred and first: so often ZeroMQ looked for those of other connections while one had some."""
    now_s = 0.0
    subscriber = Subscriber(16, allowance=Allowance(10, lambda: now_s))
    address = subscriber.bind("tcp://127.0.0.1:*")
    flood, quiet = Publisher(), Publisher()
    for publisher in (flood, quiet):
        meet(publisher, subscriber, address)
    for _ in range(200):
        flood.send_parts([b"nothing"])
    while not subscriber.refused:
        now_s += 0.1
        assert list(subscriber.receive()) == []
    quiet.send(CameraStatus(camera_id="cam_0", state="streaming"))
    for _ in range(60):
        time.sleep(0.05)
        now_s += 0.1  # enough for one message
        if list(subscriber.receive()):
            break
    else:
        raise AssertionError(f"{subscriber.refused} others were read first")
    for end in (subscriber, flood, quiet):
        end.close()


def test_a_header_that_is_large_is_refused_unread() -> None:
    subscriber = Subscriber(16, allowance=Allowance(1000), largest=1 << 20)
    address = subscriber.bind("tcp://127.0.0.1:*")
    peer = Publisher()
    meet(peer, subscriber, address)
    peer.send_parts([bytes(1 << 18)])
    end = time.monotonic() + 60
    while not subscriber.refused and time.monotonic() < end:
        wait([subscriber], [], 0.1)
        assert list(subscriber.receive()) == []
    assert subscriber.refused == 1
    subscriber.close()
    peer.close()
