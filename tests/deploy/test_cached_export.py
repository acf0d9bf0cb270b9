"""A checkpoint's export is made once, kept for its content, and done without where it cannot be."""

import ast
import errno
import importlib.util
import logging
from pathlib import Path

import pytest
import torch

from calibration.cached_folder import cached_folder
from deploy.artefact import cached_export as module
from deploy.artefact.cached_export import cached_export
from deploy.engines import make_engine
from models.network.checkpoint import CheckpointInfo, save_checkpoint
from models.network.config import recipe
from models.network.ust_hand import UstHand
from tests.conftest import ROOT

TINY = recipe("tiny", crop_px=32)


def checkpoint(path: Path, seed: int = 0) -> str:
    torch.manual_seed(seed)
    save_checkpoint(path, UstHand(TINY).state_dict(), CheckpointInfo(TINY, 0, {}))
    return str(path)


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Exports are noted and leave an empty manifest."""
    noted: list[str] = []

    def export(source: str, folder: Path) -> None:
        noted.append(source)
        (folder / "manifest.json").write_text("{}")

    monkeypatch.setattr(module, "_export", export)
    return noted


@pytest.mark.slow
def test_the_engine_of_a_checkpoint_is_exported_and_runs(tmp_path: Path) -> None:
    directory = cached_export(checkpoint(tmp_path / "a.safetensors"), tmp_path / "cache")
    assert directory is not None
    assert make_engine(str(directory)).shape.crop_px == 32


def test_it_is_made_once_and_again_for_other_weights(tmp_path: Path, exports: list[str]) -> None:
    cache = tmp_path / "cache"
    one, other = checkpoint(tmp_path / "a.safetensors"), checkpoint(tmp_path / "b.safetensors", seed=1)
    first = cached_export(one, cache)
    assert first is not None and cached_export(one, cache) == first
    assert cached_export(other, cache) not in (None, first)
    assert exports == [one, other]
    assert sorted(path.name for path in cache.iterdir()) == sorted(path.name for path in cache.glob("engine-*"))


def test_it_is_made_again_for_other_code_of_what_is_exported() -> None:
    """Whatever the exporter takes from the networks and the engines is in the key."""
    tree = ast.parse((ROOT / "deploy/export/onnx_export.py").read_text(encoding="utf-8"))
    names = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    taken = [f"{name.replace('.', '/')}.py" for name in names if name.startswith(("deploy.", "models.network."))]
    assert len(taken) > 4
    assert [path for path in taken if path not in module._CODE and str(Path(path).parent) not in module._CODE] == []


def test_without_what_it_takes_there_is_none_and_the_reason_is_said(
    tmp_path: Path, exports: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    source, found = checkpoint(tmp_path / "a.safetensors"), importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else found(name))
    assert cached_export(source, tmp_path / "cache") is None
    assert "no export, since onnxscript is not installed" in caplog.text
    monkeypatch.setattr(importlib.util, "find_spec", found)
    (tmp_path / "file").write_text("")
    assert cached_export(source, tmp_path / "file") is None
    assert "Not a directory" in caplog.text or "File exists" in caplog.text
    assert exports == []
    # What was exported before needs only a runtime.
    directory = cached_export(source, tmp_path / "cache")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else found(name))
    assert cached_export(source, tmp_path / "cache") == directory


def test_an_export_that_fails_leaves_nothing(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"no checkpoint")
    assert cached_export(str(damaged), tmp_path / "cache") is None
    assert list((tmp_path / "cache").iterdir()) == []
    assert "damaged.safetensors" in capfd.readouterr().err


def test_a_cache_keeps_the_last_few_of_a_kind(tmp_path: Path) -> None:
    def make(folder: Path) -> None:
        (folder / "whole").write_text("")

    def is_whole(folder: Path) -> bool:
        return (folder / "whole").exists()

    for number in range(5):
        cached_folder(tmp_path, "kind", str(number), is_whole, make)
        cached_folder(tmp_path, "other", "0", is_whole, make)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 4 and {"other-0", "kind-4"} <= set(names)
    with pytest.raises(ZeroDivisionError):
        cached_folder(tmp_path, "kind", "bad", is_whole, lambda folder: 1 / 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_a_cached_folder_that_only_another_may_write_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    whole = tmp_path / "kind-key"
    whole.mkdir()
    monkeypatch.setattr(Path, "touch", refuse)
    assert cached_folder(tmp_path, "kind", "key", Path.is_dir, refuse) == whole
