"""A small simulated rig taken as a real one: labels from its pictures alone, the truth only to judge by."""

import json
from pathlib import Path

import pytest

from app import cli
from app.adaptation.adapt import WEIGHTS
from app.commands import adapt as command
from tests.support.live_run import last_json


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_adapting_lowers_the_true_error_on_what_was_held_out(tmp_path: Path, monkeypatch, capsys) -> None:
    session = tmp_path / "session"
    words = ["--sets", "150", "--cameras", "4", "--fps", "10", "--seed", "71"]
    assert cli.main(["simulate", str(session), *words]) == 0
    monkeypatch.setattr(command, "user_cache", lambda: tmp_path / "cache")
    out = tmp_path / "mine"
    capsys.readouterr()
    assert cli.main(["adapt", str(session), "-o", str(out), "--rounds", "1", "--json"]) == 0
    summary = last_json(capsys.readouterr().out)
    held = summary["held_out"]
    assert summary["refused"] is None and json.loads((out / "adapt.json").read_text()) == summary
    assert held["adapted"]["withheld_percent_with_missed"] < held["packaged"]["withheld_percent_with_missed"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "mine", "session"]
    assert (out / WEIGHTS).is_file()

    assert held["adapted"]["true_mm"] < 0.97 * held["packaged"]["true_mm"]
