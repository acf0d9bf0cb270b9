"""Peers whose messages are none of ours: ignored after some tries, for a while, and nobody else with them."""

import logging
import threading
import time
from pathlib import Path

import pytest
import zmq

from app.transport.sockets import CommandClient, CommandServer, ipc_address, wait
from app.transport.strangers import Strangers, StrangerSettings


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
    client, end_s = CommandClient(server.address), time.monotonic() + 60
    while server.refused < StrangerSettings().tries and time.monotonic() < end_s:
        for _ in range(2 * StrangerSettings().tries):
            bad.send(b"\x01")
        wait([], [server], 0.05)
        server.serve()
    assert server.refused == StrangerSettings().tries, "the others are ignored unread"
    assert sum("it is ignored" in record.getMessage() for record in caplog.records) == 1
    answers: list[dict | None] = []
    asking = threading.Thread(target=lambda: answers.append(client.ask({}, 60)))
    asking.start()
    while asking.is_alive() and time.monotonic() < end_s:
        bad.send(b"\x01")
        wait([], [server], 0.01)
        server.serve()
    asking.join()
    assert answers == [{"number": 1}]
    for each in (bad, client, server):
        each.close()
