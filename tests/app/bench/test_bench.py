"""`usthand bench`: that it measures what it says; the speeds themselves are not asserted."""

import multiprocessing
import os
import threading
from pathlib import Path

import pytest

from app.bench import simulate, transport
from calibration.board.board import write_board
from calibration.errors import UserError
from tests.support.board_images import REAL_CHARUCO
from tests.support.live_run import last_json, usthand


@pytest.mark.slow
def test_transport_moves_every_paced_frame_and_compares_with_memcpy():
    done = usthand(
        "bench", "transport", "--producers", "2", "--seconds", "0.3", "--paced-seconds", "2", "--fps", "10", "--json"
    )
    assert done.returncode == 0, done.stderr
    result = last_json(done.stdout)
    assert {row["path"] for row in result["saturation"]} >= {"memcpy", "ring", "zeromq-ipc", "zeromq-tcp"}
    for row in result["saturation"]:
        assert row["fps"] > 0
        assert row["gb_per_s"] == pytest.approx(row["fps"] * 1280 * 720 * 3 / 1e9, rel=1e-2)
    paced = result["paced"][0]
    assert paced["lost"] == 0
    assert paced["fps"] == pytest.approx(20, rel=0.2)
    assert 0 < paced["latency_p50_ms"] <= paced["latency_p99_ms"]


def test_a_producer_that_ends_before_it_begins_is_said(tmp_path):
    producer = multiprocessing.get_context("spawn").Process(target=print)
    producer.start()
    producer.join()
    with pytest.raises(UserError, match="ended before it began"):
        transport._Consumer("ring", tmp_path, [producer])


@pytest.mark.slow
def test_a_calibration_is_compared_with_the_decoder_alone(real_rig_dir, tmp_path):
    session = tmp_path / "session"
    assert usthand("import", real_rig_dir, session).returncode == 0
    write_board(session / "board.yaml", REAL_CHARUCO)
    done = usthand("bench", "calibration", session, "--rounds", "1", "--json", timeout=280)
    assert done.returncode == 0, done.stderr
    result = last_json(done.stdout)
    assert (result["frames"], result["cameras"], result["rounds"]) == (444, 4, 1)
    # The detection decodes the same images, and does more.
    assert 0 < result["decode_cpu_s"] < result["detection_cpu_s"]
    assert result["calibration_s"] == pytest.approx(result["detection_s"] + result["solve_s"], abs=2e-3)
    assert result["of_decoder"] == pytest.approx(result["calibration_s"] / result["decode_s"], rel=0.02)
    assert f"{result['of_decoder']:g} times the decoder alone" in done.stdout


@pytest.mark.slow
def test_the_live_path_is_compared_with_its_detector(real_rig_dir, tmp_path):
    assert usthand("import", real_rig_dir, tmp_path / "session").returncode == 0
    done = usthand("bench", "live", tmp_path / "session", "--seconds", "5", "--json", timeout=280)
    assert done.returncode == 0, done.stderr
    result = last_json(done.stdout)
    assert result["sets"] == result["replay_fast"]["frame_sets"] == result["replay_recorded"]["frame_sets"] == 111
    assert result["of_detector"] == pytest.approx(
        result["replay_fast"]["fps"] / result["detector_sets_per_s"], rel=0.01
    )
    assert result["replay_recorded"]["stage_p99_ms"]["own"] > 0
    assert result["replay_recorded"]["frames"] == 444 and result["replay_recorded"]["dropped"] == 0
    videos = result["videos_live"]
    assert videos["sets_with_both_hands"] > 0.5 * videos["frame_sets"] > 0
    assert videos["frames"] > 4 * 30 * 5 * 0.8  # of cameras of 30 frames a second, whatever became of them
    assert "mesh" in videos["stage_ms"] and "mesh" not in result["videos_live_without_mesh"]["stage_ms"]


def _die_or_wait(size: int, seconds: float, barrier, results) -> None:
    """The first of two dies before the barrier; the other says that it was told."""
    place = Path(os.environ["USTHAND_TEST_PLACE"])
    try:
        (place / "first").touch(exist_ok=False)
    except FileExistsError:
        threading.Timer(120.0, os._exit, [0]).start()
        try:
            barrier.wait()
        except threading.BrokenBarrierError:
            (place / "told").touch()
        os._exit(0)
    os._exit(3)


def test_a_rendering_process_that_dies_before_all_begin_does_not_hold_the_others(tmp_path, monkeypatch):
    monkeypatch.setenv("USTHAND_TEST_PLACE", str(tmp_path))
    monkeypatch.setattr(simulate, "_measure", _die_or_wait)
    with pytest.raises(RuntimeError, match="a rendering process failed"):
        simulate._rate(0, 2, 0.1)
    assert (tmp_path / "told").exists()


@pytest.mark.slow
def test_rendering_is_measured_and_its_time_shared_out():
    done = usthand("bench", "simulate", "--processes", "1", "--seconds", "0.2", "--json")
    assert done.returncode == 0, done.stderr
    result = last_json(done.stdout)
    assert [row["image"] for row in result["throughput"]] == ["640x480", "crop 256", "crop 128"]
    for row in result["throughput"]:
        assert row["images_per_s"] <= 1.1 * row["images_per_cpu_s"]
    for shares in result["share_of_time"].values():
        assert sum(shares.values()) == pytest.approx(1, abs=1e-3)
        assert shares["rays and colours"] > shares["background" if "background" in shares else "background of crops"]


def test_the_hands_fit_comes_as_near_as_a_general_solver():
    done = usthand("bench", "hand", "--frames", "30", "--json")
    assert done.returncode == 0, done.stderr
    result = last_json(done.stdout)
    assert result["residual_mm"]["fit"] == pytest.approx(result["residual_mm"]["scipy"], rel=0.02)
    assert result["nearer"] > 0.15
    assert result["scipy_ms"] / result["fit_ms"] == pytest.approx(result["times_faster_than_scipy"], rel=0.02)
