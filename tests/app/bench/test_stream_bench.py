"""`usthand bench streams` and `predict`: that they measure what they say; the speeds themselves are not asserted."""

import threading

import pytest

from app.bench import predict, streams
from app.run.supervisor import Outcome
from app.transport.sockets import Publisher
from calibration.errors import UserError
from tests.support.live_run import last_json, usthand


@pytest.mark.slow
def test_every_stream_is_measured_from_published_pose_to_receiver() -> None:
    done = usthand("bench", "streams", "--seconds", "1", "--fps", "30", "--json", timeout=280)
    assert done.returncode == 0, done.stderr
    result = last_json(done.stdout)
    assert {"osc", "vmc", "lsl", "ws", "udp"} <= {row["stream"] for row in result["latency"]}
    for row in result["latency"]:
        assert row["sets"] == 30 and row["lost"] == 0
        assert 0 < row["p50_ms"] <= row["p99_ms"]
    assert [row["receivers"] for row in result["worker"]] == ["no streams", "all read", "none reads"]
    assert all(row["sets_per_s"] > 0 for row in result["worker"])


@pytest.mark.slow
def test_forecasts_are_nearer_than_poses_that_are_taken_for_later_ones() -> None:
    done = usthand("bench", "predict", "--people", "1", "--seconds", "8", "--json", timeout=280)
    assert done.returncode == 0, done.stderr
    result = last_json(done.stdout)
    for grade in ("moderate_labels", "simulated_detector"):
        rows = {row["ahead_ms"]: row for row in result[grade]["ahead"]}
        assert set(rows) == {20, 50, 100}
        assert result[grade]["measured"]["of_measured"] == 1
        kept = "learnt, fitted hand"
        for row in rows.values():
            assert row[kept]["mean_mm"] < row["none"]["mean_mm"]
            assert row[kept]["mean_mm"] < row["constant velocity"]["mean_mm"]
            assert 0.5 < row["rms_over_sd"] < 1.5


class _Hears:
    """A receiver that got every set, until somebody tells the bench to end after the second."""

    def __init__(self, told: threading.Event) -> None:
        self._told, self.sets = told, 0

    def connect(self) -> None: ...

    def receive(self, timeout_s: float) -> bool:
        self.sets += 1
        if self.sets == 2:
            self._told.set()
        return True

    def close(self) -> None: ...


def test_a_bench_of_streams_ends_when_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    told = threading.Event()
    monkeypatch.setattr(streams, "stop", told)
    publisher, receiver = Publisher(), _Hears(told)
    with pytest.raises(KeyboardInterrupt):
        streams._measure(publisher, receiver, 100, 1000.0)
    publisher.close()
    assert receiver.sets == 2


def test_a_motion_that_is_over_before_it_is_known_is_refused() -> None:
    with pytest.raises(UserError, match=r"`--seconds 0\.5`: .* after 0\.5 s"):
        predict.bench(1, 0.5)


@pytest.mark.parametrize("told_to_end", [True, False])
def test_a_run_beside_the_streams_that_has_no_figures_is_said(
    monkeypatch: pytest.MonkeyPatch, told_to_end: bool
) -> None:
    told = threading.Event()
    if told_to_end:
        told.set()
    monkeypatch.setattr(streams, "stop", told)
    monkeypatch.setattr(streams.Supervisor, "run", lambda *_: Outcome(1))
    with pytest.raises(KeyboardInterrupt if told_to_end else UserError):
        streams._worker([], "no streams", 1.0, 30.0)
