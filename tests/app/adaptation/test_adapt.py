"""A small simulated rig taken as a real one: labels from its pictures alone, the truth only to judge by."""

import json
from pathlib import Path

import pytest

from app import cli
from app.adaptation.adapt import WEIGHTS, Adaptation
from app.adaptation.check import CheckedRound
from app.adaptation.judgement import forgets
from app.adaptation.settings import AdaptSettings
from app.adaptation.work import WorkFolder
from app.commands import adapt as command
from tests.support.live_run import last_json


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_adapting_lowers_the_true_error_on_what_was_held_out(tmp_path: Path, monkeypatch, capsys) -> None:
    session = tmp_path / "session"
    words = ["--sets", "110", "--cameras", "4", "--fps", "10", "--seed", "71"]
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


@pytest.mark.parametrize(
    ("grown_mm", "share", "reason"),
    [({}, 1.0, None), ({1.0: 0.4}, 0.75, None), ({0.25: 0.3, 0.5: 0.3, 0.75: 0.3, 1.0: 0.3}, 0.25, "it forgets")],
)
def test_only_so_much_of_the_way_is_gone_as_forgets_no_other_hands(
    tmp_path: Path, monkeypatch, grown_mm: dict[float, float], share: float, reason: str | None
) -> None:
    adaptation = Adaptation(
        footages=[], weights=tmp_path / "packaged", engine="", work=WorkFolder(tmp_path / "mine", {}), labels=[],
        settings=AdaptSettings(), cache=tmp_path, workers=1, progress=lambda *_: None,
    )  # fmt: skip

    def put(module: str, packaged: str, weights: str, way: str, out: str) -> None:
        Path(out).write_text(way)

    def error_mm(checkpoint: Path) -> dict[str, float]:
        way = 0.0 if checkpoint == adaptation.weights else float(checkpoint.read_text())
        return {"mpjpe_mm": 8.0 + grown_mm.get(way, 0.0)}

    monkeypatch.setattr(adaptation, "_run", put)
    monkeypatch.setattr(adaptation, "_error_mm", error_mm)
    of_round = CheckedRound(before=14.0, after={0.25: 13.0, 0.5: 12.0, 0.75: 11.0, 1.0: 10.0})
    ways = [(tmp_path / "round_0" / "weights", each) for each in of_round.better()]
    checkpoint, summary = adaptation._remembering(ways)
    assert (float((checkpoint / WEIGHTS).read_text()), summary["share"]) == (share, share)
    said = forgets(summary["simulated"], adaptation.settings.judgement)
    assert said is None if reason is None else said is not None and reason in said
    assert summary["simulated"]["adapted"]["mpjpe_mm"] == 8.0 + grown_mm.get(share, 0.0)


def test_a_round_of_which_nothing_can_be_checked_goes_all_the_way() -> None:
    assert CheckedRound(before=float("inf"), after={1.0: float("inf")}).better() == [1.0]
