"""`usthand bench streams` and `predict`: that they measure what they say; the speeds themselves are not asserted."""

import pytest

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
