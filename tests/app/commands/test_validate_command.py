"""`usthand validate` from the outside."""

import errno
from pathlib import Path

import numpy as np
import pytest

from app import cli
from app.evaluation.evaluation import Recording
from calibration import written_files
from calibration.board.board import Board, write_board
from tests.support.exact_footage import make_session
from tests.support.grip_scene import BOARD
from tests.support.live_run import last_json, usthand
from tests.support.touch_scene import touch_scene


@pytest.fixture
def recording(tmp_path: Path, write_video) -> Recording:
    return make_session(tmp_path / "session", write_video)


def test_bad_input_is_one_line_and_exit_code_2(recording, tmp_path, capsys):
    path, board = str(recording.session.path), tmp_path / "board.yaml"
    write_board(board, BOARD)
    for words, message in (
        (["--session", str(tmp_path), "--board", str(board)], "is not a session"),
        (["--session", path, "--board", str(tmp_path / "no.yaml")], "no such file"),
        (["--session", path, "--board", str(board), "--corners", "A1", "Z9"], "has the corners A1 to C4"),
        (["--session", path, "--board", str(board), "--report", str(tmp_path / "no" / "r.html")], "there is no folder"),
        (["--session", path, "--board", str(board)], "the board of `--board` is not seen by two cameras at once"),
    ):
        assert cli.main(["validate", *words]) == 2, words
        error = capsys.readouterr().err
        assert message in error
        assert "Traceback" not in error


@pytest.mark.slow
def test_rendered_touches_from_the_videos_to_the_report(tmp_path, monkeypatch, capsys):
    scene = touch_scene("left", (("index", 0), ("index", 11), ("thumb", 4), ("thumb", 9)), sets_each=14, moving=False)
    scene.write(tmp_path / "session")
    write_board(tmp_path / "board.yaml", BOARD)
    words = ["validate", "--session", tmp_path / "session", "--board", tmp_path / "board.yaml"]
    report = tmp_path / "touch.html"
    done = usthand(*words, "--report", report, "--json")
    assert done.returncode == 0, done.stderr
    figures = last_json(done.stdout)
    assert [(each["hand"], each["finger"], each["corner"]) for each in figures["touches"]] == [
        ("left", "index", "A1"), ("left", "index", "C4"), ("left", "thumb", "B2"), ("left", "thumb", "A4")
    ]  # fmt: skip
    assert 0 < figures["all"]["plane_mm"] < 15
    assert figures["latency_ms"] is None
    assert "<svg" in report.read_text()

    before = report.read_bytes()

    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(written_files.os, "fsync", full)
    assert cli.main([*map(str, words), "--report", str(report)]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert report.read_bytes() == before
    # What was measured is on the terminal all the same.
    assert np.isfinite(figures["jitter_mm"])


def test_a_chessboard_that_looks_the_same_when_turned_is_refused(tmp_path):
    write_board(tmp_path / "board.yaml", Board(type="chessboard", columns=9, rows=7, square_m=0.03))
    done = usthand("validate", "--session", tmp_path, "--board", tmp_path / "board.yaml")
    assert done.returncode == 2 and "looks the same when turned by 180 degrees" in done.stderr
