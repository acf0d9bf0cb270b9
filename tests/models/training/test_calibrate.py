"""Calibration stored in a checkpoint, checkpoints between two, and checkpoints that have no such thing."""

import sys
from pathlib import Path

import pytest
import torch

from calibration.errors import UserError
from models.data.generate import GenerateSettings, generate
from models.evaluation.reliability import reliability
from models.network.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from models.network.config import recipe
from models.network.ust_hand import UstHand
from models.tools.average import average
from models.training.calibrate import _said, _set, calibrate, main


def checkpoint(path: Path, seed: int, name: str = "tiny") -> Path:
    torch.manual_seed(seed)
    save_checkpoint(path, UstHand(recipe(name)).state_dict(), CheckpointInfo(recipe(name), 7, {}))
    return path


def test_a_recipe_of_heatmaps_is_refused_in_words(tmp_path: Path, monkeypatch, capsys) -> None:
    tiny = checkpoint(tmp_path / "tiny.safetensors", 0)
    with pytest.raises(UserError, match="recipe `tiny`"):
        calibrate(tiny, tmp_path / "out.safetensors", [], 4)
    monkeypatch.setattr(sys, "argv", ["calibrate", str(tiny), str(tmp_path / "out"), str(tmp_path)])
    assert main() == 2
    assert "Give one of recipe `live`" in capsys.readouterr().err


def test_what_is_fitted_is_stored_and_nothing_else_changes(tmp_path: Path, monkeypatch) -> None:
    """From the packaged network, and from one whose probabilities were spoilt, by the command, the same comes out: more
    right about the crops that it was fitted on than the spoilt ones."""
    cache = tmp_path / "crops"
    for _ in generate(cache, GenerateSettings(people=4, clips=2, frames=1, views=2, size_px=180, upright=True)):
        pass
    network, info = load_checkpoint("shipped")
    for calibration in (network.stage1.presence, network.stage1.right):
        _set(calibration, 0.2, 2.5)
    spoilt = network.state_dict()
    save_checkpoint(tmp_path / "spoilt.safetensors", spoilt, info, half=True)
    fitted = {}
    for source in ("shipped", str(tmp_path / "spoilt.safetensors")):
        out = tmp_path / "out.safetensors"
        monkeypatch.setattr(sys, "argv", ["calibrate", source, str(out), str(cache), "--windows", "8"])
        assert main() == 0
        fitted[source], said = load_checkpoint(out)
        assert said.provenance == info.provenance | {"calibrated_on": ["crops"]} and said.step == info.step
    first, second = (each.state_dict() for each in fitted.values())
    changed = {name for name in spoilt if not torch.equal(first[name], spoilt[name])}
    assert changed == {f"stage1.{each}.{name}" for each in ("presence", "right") for name in ("log_scale", "shift")}
    assert all(torch.allclose(first[name], second[name], atol=1e-3) for name in changed)
    for before, after in zip(*(_said(each, cache, 8, 0) for each in (network, fitted["shipped"])), strict=True):
        assert reliability(after)["brier"] < reliability(before)["brier"]


def test_a_checkpoint_between_two(tmp_path: Path) -> None:
    first, second = (checkpoint(tmp_path / f"{seed}.safetensors", seed) for seed in (1, 2))
    average(first, second, tmp_path / "quarter.safetensors", 0.25)
    a, b, between = (
        load_checkpoint(path)[0].state_dict() for path in (first, second, tmp_path / "quarter.safetensors")
    )
    for name, value in between.items():
        assert torch.allclose(value.float(), 0.75 * a[name].float() + 0.25 * b[name].float(), atol=1e-6)


def test_two_of_different_networks_have_none_between(tmp_path: Path) -> None:
    tiny = checkpoint(tmp_path / "tiny.safetensors", 1)
    with pytest.raises(UserError, match="another network"):
        average("shipped", tiny, tmp_path / "out.safetensors")
