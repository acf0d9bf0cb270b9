"""Peers whose messages are none of ours: ignored after some tries, for a while, and nobody else with them."""

import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import zmq

from app.transport.messages import CameraStatus
from app.transport.sockets import CommandClient, CommandServer, Subscriber, ipc_address, wait
from app.transport.strangers import Strangers, StrangerSettings
from tests.conftest import ROOT


def test_after_its_tries_a_peer_is_ignored_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    now_s = 100.0
    strangers = Strangers(StrangerSettings(tries=3, ignored_s=10), lambda: now_s)
    bad, good = ("10.0.0.7", 8), ("10.0.0.7", 9)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert not strangers.is_ignored(bad)
            strangers.refuse(bad, "truncated")
    assert strangers.is_ignored(bad) and not strangers.is_ignored(good)
    assert [record.getMessage().startswith("10.0.0.7") for record in caplog.records] == [True, True]
    now_s = 110.5
    assert not strangers.is_ignored(bad)
    strangers.refuse(bad, "truncated")
    assert strangers.is_ignored(bad) and strangers.refused == 4


def test_few_peers_are_remembered() -> None:
    strangers = Strangers(StrangerSettings(tries=1, most_peers=5))
    for number in range(1000):
        strangers.refuse(("10.0.0.7", number), "truncated")
    assert [strangers.is_ignored(("10.0.0.7", number)) for number in (994, 995, 999)] == [False, True, True]


def test_a_peer_that_asks_nonsense_is_named_and_ignored_while_another_is_answered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = CommandServer(ipc_address(tmp_path / "ask"), lambda request: {"number": request["number"]})
    bad = zmq.Context.instance().socket(zmq.DEALER)
    bad.set(zmq.LINGER, 0)
    bad.connect(server.address)

    def ask_nonsense() -> None:
        with contextlib.suppress(zmq.Again):  # what is not read fills its queue
            bad.send(b"\x01", zmq.NOBLOCK)

    client, end_s = CommandClient(server.address), time.monotonic() + 60
    while server.refused < StrangerSettings().tries and time.monotonic() < end_s:
        for _ in range(2 * StrangerSettings().tries):
            ask_nonsense()
        wait([], [server], 0.05)
        server.serve()
    assert server.refused == StrangerSettings().tries, "the others are ignored unread"
    assert sum("it is ignored" in record.getMessage() for record in caplog.records) == 1
    answers: list[dict | None] = []
    asking = threading.Thread(target=lambda: answers.append(client.ask({}, 60)))
    asking.start()
    while asking.is_alive() and time.monotonic() < end_s:
        ask_nonsense()
        wait([], [server], 0.01)
        server.serve()
    asking.join()
    assert answers == [{"number": 1}]
    for each in (bad, client, server):
        each.close()


_SENDS = """
import sys, time
from app.transport.messages import CameraStatus, encode
from app.transport.sockets import Publisher
publishers = {name: Publisher() for name in sys.argv[2:]}
for each in publishers.values():
    each.connect(sys.argv[1])
while True:
    for name, each in publishers.items():
        each.send_parts([encode(CameraStatus(camera_id=name, state="streaming")) if name.isdigit() else b"nothing"])
    time.sleep(0.002)
"""


def test_who_gets_an_ignored_peers_descriptor_is_heard() -> None:
    """As a camera that connects anew just after a hostile peer has gone."""
    subscriber = Subscriber()
    subscriber._strangers = Strangers(StrangerSettings(ignored_s=3600))
    address = subscriber.bind("tcp://127.0.0.1:*")
    bad = subprocess.Popen([sys.executable, "-c", _SENDS, address, "nothing"], cwd=ROOT)
    end_s = time.monotonic() + 100
    while subscriber.refused < StrangerSettings().tries and time.monotonic() < end_s:
        wait([subscriber], [], 0.05)
        assert list(subscriber.receive()) == []
    open_before = len(os.listdir("/proc/self/fd"))
    bad.kill()
    bad.wait()
    while len(os.listdir("/proc/self/fd")) >= open_before and time.monotonic() < end_s:
        time.sleep(0.01)
    # In a process of their own, so that what is opened here next are its connections.
    good = subprocess.Popen([sys.executable, "-c", _SENDS, address, "0", "1", "2", "3"], cwd=ROOT)
    heard = set()
    while len(heard) < 4 and time.monotonic() < end_s:
        wait([subscriber], [], 0.05)
        heard |= {message.camera_id for message, _ in subscriber.receive() if isinstance(message, CameraStatus)}
    good.kill()
    good.wait()
    assert heard == {"0", "1", "2", "3"}
    subscriber.close()
