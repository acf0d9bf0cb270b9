"""Calibration stored in a checkpoint, checkpoints between two, and checkpoints that have no such thing."""

import sys
from pathlib import Path

import pytest
import torch

from calibration.errors import UserError
from models.network.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from models.network.config import recipe
from models.network.ust_hand import UstHand
from models.tools.average import average
from models.training.calibrate import calibrate, main


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
