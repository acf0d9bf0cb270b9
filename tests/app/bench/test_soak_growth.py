"""What a process grew by: a leak is found, what it held for a moment is not."""

import pytest

from app.bench.soak import growth
from app.bench.soak.processes import Holding


def grown(monkeypatch: pytest.MonkeyPatch, descriptors: list[int]) -> float:
    looks = iter(Holding(40.0 + index, 100.0, count, 5) for index, count in enumerate(descriptors))
    monkeypatch.setattr(growth, "holding_of", lambda pid: next(looks))
    found = growth.Growth()
    for _ in descriptors:
        found.look({7: "worker"})
    return found.result()["worker"]["descriptors"]


def test_a_leak_is_growth_and_a_connection_of_the_first_or_last_moment_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert grown(monkeypatch, [42] * 20 + [50]) == 0
    assert grown(monkeypatch, [41] + [42] * 20) == 0
    assert grown(monkeypatch, list(range(42, 72))) == 21  # 29, but for four of the first looks and four of the last
    assert grown(monkeypatch, [42] * 20 + [43] * 6) == 1


def test_one_look_says_nothing_of_growth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "holding_of", lambda pid: Holding(40.0, 100.0, 42, 5))
    found = growth.Growth()
    found.look({7: "worker"})
    assert found.result() == {}
