"""Peers whose messages are none of ours: ignored after some tries, for a while, and nobody else with them."""

import logging

import pytest

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
