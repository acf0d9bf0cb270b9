"""Training: it fits, it resumes exactly, it averages over processes, survives bad numbers, never reads 3D labels."""

import hashlib
import json
import math
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from app.cli import main as usthand_main
from calibration.errors import UserError
from models.data.crop_cache import write_shard
from models.network.checkpoint import CheckpointInfo, load_checkpoint, read_tensors, save_checkpoint, write_tensors
from models.network.config import NetworkConfig, recipe
from models.network.ust_hand import UstHand, draw_latents
from models.training.__main__ import main as training_main
from models.training.config import DataConfig, LossConfig, TrainConfig, read_train_config
from models.training.processes import Processes
from models.training.step import INPUTS, to_device, window_losses
from models.training.trainer import BEST, LAST, RESUME, Trainer, TrainingData
from models.training.validation import validate
from tests.conftest import ROOT
from tests.models.data.test_windows import shard_of, write_cache
from tests.support.window_cases import DotWindows, batch_of

CPU = torch.device("cpu")
PER_VIEW = {
    "crops_rgb": "",
    "view_mask": "",
    "P_crop": "unseen_P_crop",
    "labels_px": "unseen_labels_px",
    "label_confidence": "unseen_confidence",
}
NETWORK = {"recipe": "tiny", "crop_px": 32, "frames": 3}
TINY = recipe("tiny", crop_px=32, frames=3)


def settings(folder: Path, **changes: Any) -> TrainConfig:
    values = {
        "network": NETWORK,
        "steps": 6,
        "stage1_steps": 2,
        "batch": 2,
        "stage1_batch": 3,
        "warmup_steps": 2,
        "workers": 0,
        "log_every": 2,
        "validate_every": 100,
        "save_every": 100,
        "validation_windows": 4,
        "precision": "float32",
    }
    data = DataConfig(train=("dots",), views=(2, 3))
    return TrainConfig(data=data, output=str(folder), **(values | changes))  # type: ignore[arg-type]


def dots(**options: Any) -> TrainingData:
    def windows(frames: int) -> DotWindows:
        return DotWindows(10, frames, size_px=32, noise_px=0.5, **options)

    return TrainingData(windows, DotWindows(4, 3, size_px=32, truth=True), {"data": "dots"})


def train(config: TrainConfig, data: TrainingData | None = None, resume: bool = False) -> Trainer:
    trainer = Trainer(config, data or dots(), Processes(), resume)
    trainer.run()
    return trainer


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_gradients_reach_every_parameter() -> None:
    torch.manual_seed(0)
    model = UstHand(recipe("tiny"))
    inputs = to_device(batch_of(DotWindows(), 2, 3), CPU)
    window_losses(model, inputs, draw_latents(model.config, 2, 3, 0), LossConfig())["total"].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_the_loss_is_the_weighted_sum_with_the_papers_weights() -> None:
    torch.manual_seed(0)
    inputs = to_device(batch_of(DotWindows(frames=3, size_px=32), 2, 3), CPU)
    losses = window_losses(UstHand(TINY).eval(), inputs, draw_latents(TINY, 2, 3, 0), LossConfig())
    weights = {"heatmap": 0.001, "position": 10, "nll": 0.1, "projection": 10, "covariance": 0.01}
    assert losses.keys() == weights.keys() | {"total"}
    assert losses["total"].item() == pytest.approx(sum(weights[name] * losses[name].item() for name in weights))


def test_labels_of_views_that_were_not_seen_supervise_the_3d_alone() -> None:
    torch.manual_seed(0)
    model, inputs = UstHand(TINY).eval(), to_device(batch_of(DotWindows(frames=3, size_px=32), 2, 4), CPU)
    seen = {name: each[:, :, :2] if name in PER_VIEW else each for name, each in inputs.items()}
    extra = {new: inputs[name][:, :, 2:] for name, new in PER_VIEW.items() if new}
    latents = draw_latents(TINY, 2, 2, 0)
    alone, with_others = (window_losses(model, batch, latents, LossConfig()) for batch in (seen, seen | extra))
    moved = seen | extra | {"unseen_labels_px": extra["unseen_labels_px"] + 3}
    silent = moved | {"unseen_confidence": torch.zeros_like(extra["unseen_confidence"])}
    further, unheard = (window_losses(model, batch, latents, LossConfig()) for batch in (moved, silent))
    for name in ("heatmap", "position", "nll"):
        assert alone[name] == with_others[name] == further[name]
    for name in ("projection", "covariance"):
        assert len({each[name].item() for each in (alone, with_others, further)}) == 3
        torch.testing.assert_close(unheard[name], alone[name])


def test_fused_labels_teach_positions_and_the_detectors_own_the_covariance() -> None:
    torch.manual_seed(0)
    model, inputs = UstHand(TINY).eval(), to_device(batch_of(DotWindows(frames=3, size_px=32), 2, 3), CPU)
    latents = draw_latents(TINY, 2, 3, 0)
    fused = {"fused_px": inputs["labels_px"] + 2, "fused_confidence": inputs["label_confidence"]}
    own_moved = inputs | {"labels_px": inputs["labels_px"] + 2}
    plain, moved, both = (
        window_losses(model, batch, latents, LossConfig()) for batch in (inputs, own_moved, inputs | fused)
    )
    for name in ("heatmap", "position", "nll", "projection"):
        assert both[name] == moved[name] != plain[name]
    assert both["covariance"] == plain["covariance"] != moved["covariance"]


@pytest.mark.slow
def test_one_window_is_learned_to_under_a_millimetre_from_its_2d_labels() -> None:
    torch.manual_seed(0)
    batch = batch_of(DotWindows(truth=True), 1, 3)
    model, inputs, steps = UstHand(recipe("tiny")), to_device(batch, CPU), 700
    optimiser = torch.optim.Adam(model.parameters())
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 3e-3 * min(1, (step + 1) / 20) * (1 - step / steps)
        losses = window_losses(model, inputs, draw_latents(model.config, 1, 3, step), LossConfig())
        optimiser.zero_grad()
        losses["total"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
    with torch.no_grad():
        joints_m = model.eval()(*(inputs[name] for name in INPUTS), draw_latents(model.config, 1, 3, 0)).joints_m
    assert 1e3 * (joints_m - batch["joints_m"][:, -1]).norm(dim=-1).mean() < 1.0


def test_a_resumed_run_equals_an_unbroken_one_bit_for_bit(tmp_path: Path) -> None:
    """Interrupted once within each phase; validation in between must not disturb it either."""
    whole = train(settings(tmp_path / "whole", validate_every=2, precision="bf16"))
    broken = settings(tmp_path / "broken", precision="bf16")
    for end in (1, 4, 6):
        trainer = Trainer(broken, dots(), Processes(), resume=end > 1)
        original = trainer._train

        def stop_after(batch: dict, stage1_only: bool, trainer=trainer, original=original, end=end) -> dict:
            trainer.stop = trainer.step + 1 == end < 6
            return original(batch, stage1_only)

        trainer._train = stop_after
        trainer.run()
        assert trainer.step == end
    assert same(trainer._state(), whole._state())
    first, second = (read_tensors(tmp_path / name / LAST)[0] for name in ("whole", "broken"))
    assert same(first, second)
    assert not same(first, {name: tensor.detach() for name, tensor in trainer.model.state_dict().items()})


def test_a_run_of_the_transformer_alone_resumes_exactly_with_a_worker(tmp_path: Path) -> None:
    train(settings(tmp_path / "first"))
    start = str(tmp_path / "first" / LAST)
    changes = {"start": start, "stage1_steps": 0, "freeze_stage1": True, "workers": 1, "steps": 4}
    whole = train(settings(tmp_path / "whole", **changes))
    trainer = Trainer(settings(tmp_path / "broken", **changes), dots(), Processes())
    original = trainer._train

    def stop_after_two(batch: dict, stage1_only: bool) -> dict:
        trainer.stop = trainer.step + 1 == 2
        return original(batch, stage1_only)

    trainer._train = stop_after_two
    trainer.run()
    assert trainer.step == 2
    assert same(train(settings(tmp_path / "broken", **changes), resume=True)._state(), whole._state())


def test_3d_labels_cannot_change_what_is_learned(tmp_path: Path) -> None:
    """Training windows whose 3D joints are not finite, against windows that have none."""

    class Poisoned(DotWindows):
        def __getitem__(self, key: tuple[int, int, int]) -> dict[str, Tensor]:
            item = super().__getitem__(key)
            shape = item["label_confidence"].shape
            return item | {"joints_m": torch.full((shape[0], 21, 3), math.nan), "visible": torch.zeros(shape).bool()}

    clean = train(settings(tmp_path / "clean"))
    poisoned = train(
        settings(tmp_path / "poisoned"), dots()._replace(windows=lambda T: Poisoned(10, T, size_px=32, noise_px=0.5))
    )
    assert same(clean._state(), poisoned._state())


@pytest.mark.slow
def test_two_processes_learn_the_same_weights_from_different_windows(tmp_path: Path) -> None:
    """torchrun with gloo; each process saves what it ends with. Their gradients differ, their weights must not. A run
    that ends after four of the six steps and is resumed ends alike."""
    script = tmp_path / "two.py"
    script.write_text(
        "import sys, torch\n"
        "from pathlib import Path\n"
        "from tests.models.training.test_training import Trainer, Processes, settings, dots\n"
        "folder, stop, processes = Path(sys.argv[1]), int(sys.argv[2]), Processes()\n"
        "half = torch.tensor([float(processes.rank)])\n"
        "processes.average([half])\n"
        "assert half == 0.5, half\n"
        "config = settings(folder / 'run', validate_every=3)\n"
        "trainer = Trainer(config, dots(), processes, resume='--resume' in sys.argv)\n"
        "seen, loss = [], trainer._train\n"
        "def watch(batch, stage1_only):\n"
        "    trainer.stop = trainer.step + 1 == stop and processes.rank == 1\n"
        "    seen.append(float(batch['labels_px'].sum()))\n"
        "    return loss(batch, stage1_only)\n"
        "trainer._train = watch\n"
        "trainer.run()\n"
        "torch.save({'state': trainer.model.state_dict(), 'seen': seen}, folder / f'{processes.rank}.pt')\n"
        "processes.close()\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

    def run(folder: Path, stop: int, *resume: str) -> list[dict[str, Any]]:
        folder.mkdir(exist_ok=True)
        words = [*command, str(script), str(folder), str(stop), *resume]
        done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]

    first, second = run(tmp_path, 6)
    assert len(run(tmp_path / "broken", 4)[0]["seen"]) == 4
    resumed, _ = run(tmp_path / "broken", 6, "--resume")
    assert len(resumed["seen"]) == 2 and same(resumed["state"], first["state"])
    assert same(first["state"], second["state"])
    assert len(first["seen"]) == 6 and not set(first["seen"]) & set(second["seen"])
    _, info = load_checkpoint(tmp_path / "run" / LAST)
    assert info.step == 6 and info.provenance["batch"] == 4
    alone = train(settings(tmp_path / "alone"))
    assert not same(first["state"], alone.model.state_dict())


class BadLabels(DotWindows):
    """From the window `bad` on, labels that are not finite."""

    bad = 0

    def __getitem__(self, key: tuple[int, int, int]) -> dict[str, Tensor]:
        item = super().__getitem__(key)
        if key[0] >= self.bad:
            item["labels_px"][:] = math.nan
        return item


def test_a_step_that_is_not_finite_changes_nothing_and_many_end_the_run(tmp_path: Path) -> None:
    data = dots()._replace(windows=lambda T: BadLabels(10, T, size_px=32))
    trainer = Trainer(settings(tmp_path / "bad", bad_steps=3, stage1_steps=0), data, Processes())
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    with pytest.raises(UserError, match="not finite in 3 steps in a row"):
        trainer.run()
    assert same(trainer.model.state_dict(), before) and trainer.skipped == 3
    assert not (tmp_path / "bad" / RESUME).exists()


def test_a_covariance_that_is_not_finite_ends_the_run_as_any_loss(tmp_path: Path) -> None:
    trainer = Trainer(settings(tmp_path, bad_steps=2, stage1_steps=0), dots(), Processes())
    next(trainer.model.stpt.covariance.parameters()).data.fill_(math.nan)
    with pytest.raises(UserError, match="not finite in 2 steps in a row"):
        trainer.run()


def test_pauses_of_a_run_count_neither_as_steps_nor_as_waiting(tmp_path: Path, monkeypatch: Any) -> None:
    """A clock that only validation, saving and the wait for a batch move: each by a second."""
    now_s, shown = [0.0], []
    monkeypatch.setattr("models.training.trainer.time.perf_counter", lambda: now_s[0])

    class Waits:
        def __init__(self, batches: Any) -> None:
            self.batches = iter(batches)

        def __iter__(self) -> "Waits":
            return self

        def __next__(self) -> Any:
            now_s[0] += 1
            return next(self.batches)

    config = settings(tmp_path, stage1_steps=0, steps=8, log_every=4, validate_every=3, save_every=3)
    trainer = Trainer(config, dots(), Processes())
    loader, figures = trainer._loader, trainer._figures

    def pause(*_: Any) -> dict:
        now_s[0] += 100
        return {}

    def show(losses: list, waited_s: float, passed_s: float) -> dict:
        shown.append((waited_s, passed_s))
        return figures(losses, waited_s, passed_s)

    monkeypatch.setattr(trainer, "_loader", lambda stage1_only: Waits(loader(stage1_only)))
    monkeypatch.setattr(trainer, "_validate", pause)
    monkeypatch.setattr(trainer, "_save", pause)
    monkeypatch.setattr(trainer, "_figures", show)
    trainer.run()
    assert shown == [(4, 4), (4, 4)]


def test_a_few_bad_steps_are_skipped_and_counted(tmp_path: Path) -> None:
    class Some(BadLabels):
        bad = 8

    trainer = train(settings(tmp_path), dots()._replace(windows=lambda T: Some(10, T, size_px=32)))
    assert trainer.step == 6 and 0 < trainer.skipped < 6
    assert all(torch.isfinite(tensor).all() for tensor in trainer.model.state_dict().values())


def test_a_run_leaves_checkpoints_curves_and_pictures(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer = train(settings(tmp_path, validate_every=3, save_every=2, steps=6, workers=1))
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    expected = {"train/total", "train/projection", "train/waiting", "validation/mpjpe_mm", "validation/labels_dlt_mm"}
    assert expected <= set(tags["scalars"]) and tags["images"] == ["validation/hands"]
    assert 0 <= events.Scalars("train/waiting")[-1].value <= 1
    assert events.Scalars("validation/labels_dlt_mm")[-1].value < 0.01  # the labels are exact there
    model, info = load_checkpoint(tmp_path / BEST, trainer.model.config)
    assert info.provenance["validation"]["mpjpe_mm"] == pytest.approx(trainer.best)
    assert json.loads((tmp_path / "last.json").read_text())["step"] == 6
    assert same(load_checkpoint(tmp_path / LAST)[0].state_dict(), trainer.averaged.state_dict()) and not model.training


def test_a_run_is_not_overwritten_nor_resumed_with_other_settings(tmp_path: Path) -> None:
    train(settings(tmp_path))
    with pytest.raises(UserError, match=r"holds a run already\. Add --resume"):
        Trainer(settings(tmp_path), dots(), Processes())
    with pytest.raises(UserError, match=r"other settings: seed, learning_rate\. Restore"):
        Trainer(settings(tmp_path, learning_rate=1e-3, seed=1), dots(), Processes(), resume=True)
    assert Trainer(settings(tmp_path, save_every=7), dots(), Processes(), resume=True).step == 6
    with pytest.raises(UserError, match="no such checkpoint"):
        Trainer(settings(tmp_path / "none"), dots(), Processes(), resume=True)


def test_a_run_is_not_resumed_with_data_that_was_made_anew(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    """Of other settings, or of more people: neither is what the run would have learned from."""
    shards = [shard_of(True), shard_of(False)]
    write_cache(tmp_path / "cache", shards)
    network = "network: {recipe: tiny, crop_px: 32}\nsteps: 1\nbatch: 2\nworkers: 0\n"
    path = write_config(tmp_path, f"data: {{train: [cache]}}\n{network}")
    monkeypatch.setattr("sys.argv", ["training", str(path)])
    assert training_main() == 0
    monkeypatch.setattr("sys.argv", ["training", str(path), "--resume"])
    assert training_main() == 0
    manifest = tmp_path / "cache" / "manifest.json"
    as_it_was = manifest.read_text()
    for change in (
        lambda: manifest.write_text(json.dumps(json.loads(as_it_was) | {"settings": {"seed": 2}})),
        lambda: write_shard(tmp_path / "cache", 1, shards[0]),
    ):
        change()
        assert training_main() == 2
        assert f"started with other data than is in {tmp_path / 'cache'} now" in capsys.readouterr().err
        shutil.rmtree(tmp_path / "cache")
        write_cache(tmp_path / "cache", shards)
    assert manifest.read_text() == as_it_was and training_main() == 0


def test_a_run_may_begin_from_a_checkpoint(tmp_path: Path) -> None:
    first = train(settings(tmp_path / "first"))
    start = str(tmp_path / "first" / LAST)
    second = Trainer(settings(tmp_path / "second", start=start), dots(), Processes())
    assert same(second.model.state_dict(), first.averaged.state_dict()) and second.step == 0
    without = Trainer(settings(tmp_path / "third", start=start, network=NETWORK | {"casa": False}), dots(), Processes())
    begun = first.averaged.state_dict()
    assert all(torch.equal(tensor, begun[name]) for name, tensor in without.model.state_dict().items())
    for change in ({"blocks": 3}, {"width": 32}):
        with pytest.raises(UserError, match="another network"):
            Trainer(settings(tmp_path / "fourth", start=start, network=NETWORK | change), dots(), Processes())


def test_a_frozen_stage_1_stays_as_it_began_and_the_transformer_learns(tmp_path: Path) -> None:
    start = str(tmp_path / "first" / LAST)
    begun = train(settings(tmp_path / "first")).averaged.state_dict()
    frozen = train(settings(tmp_path / "frozen", start=start, stage1_steps=0, freeze_stage1=True, steps=3))
    for state in (frozen.model.state_dict(), frozen.averaged.state_dict()):
        changed = {name.split(".")[0] for name in state if not torch.equal(state[name], begun[name])}
        assert changed == {"stpt", "label_noise"}


def test_single_frames_teach_all_but_what_tells_frames_apart(tmp_path: Path) -> None:
    begun = Trainer(settings(tmp_path / "begun"), dots(), Processes()).model.state_dict()
    asked = []
    data = dots()
    watched = data._replace(windows=lambda frames: asked.append(frames) or data.windows(frames))
    learned = train(settings(tmp_path / "run", stage1_steps=0, frames=1, steps=2), watched).model.state_dict()
    assert asked == [1]
    same_as_begun = {
        name for name in learned if name.endswith("temporal.time") and torch.equal(learned[name][:-1], begun[name][:-1])
    }
    assert same_as_begun == {f"stpt.blocks.{block}.temporal.time" for block in range(TINY.blocks)}
    moved = [name for name in learned if name.endswith("weight") and not torch.equal(learned[name], begun[name])]
    assert {"stpt.blocks.0.spatial.out.weight", "stpt.blocks.1.offset.3.weight", "stage1.backbone.conv1.weight"} <= set(
        moved
    )


def test_too_little_data_for_a_batch_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has 10 windows, fewer than a batch"):
        train(settings(tmp_path, batch=11, stage1_steps=0))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, UstHand(TINY).state_dict(), CheckpointInfo(TINY, 7, {"seed": 3}))
    return path


def test_a_checkpoint_whose_first_byte_is_that_of_a_pickle_is_read(tmp_path: Path) -> None:
    """The first byte is a part of the header's length, a multiple of eight: one file in 32 begins so."""
    torch.manual_seed(1)
    state, path = UstHand(TINY).state_dict(), tmp_path / "one.safetensors"
    for padding in range(0, 512, 8):
        save_checkpoint(path, state, CheckpointInfo(TINY, 7, {"padding": " " * padding}))
        if path.read_bytes()[:1] == b"\x80":
            break
    assert path.read_bytes()[:1] == b"\x80"
    assert same(load_checkpoint(path, TINY)[0].state_dict(), state)


def test_a_checkpoint_gives_back_its_network(tmp_path: Path, checkpoint: Path) -> None:
    torch.manual_seed(1)
    model = UstHand(TINY)
    save_checkpoint(checkpoint, model.state_dict(), CheckpointInfo(TINY, 7, {"seed": 3}))
    loaded, info = load_checkpoint(checkpoint, TINY)
    assert same(loaded.state_dict(), model.state_dict()) and info == CheckpointInfo(TINY, 7, {"seed": 3})
    half = tmp_path / "half.safetensors"
    save_checkpoint(half, model.state_dict(), info, half=True)
    assert half.stat().st_size < 0.6 * checkpoint.stat().st_size
    for name, tensor in load_checkpoint(half)[0].state_dict().items():
        torch.testing.assert_close(tensor, model.state_dict()[name], atol=1e-3, rtol=1e-3)


class _Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("writer", ["pickle", "torch"])
def test_a_pickle_that_pretends_to_be_a_checkpoint_is_refused_and_not_run(tmp_path: Path, writer: str) -> None:
    path, trace = tmp_path / "best.safetensors", tmp_path / "executed"
    if writer == "pickle":
        path.write_bytes(pickle.dumps(_Touch(trace)))
    else:
        torch.save(_Touch(trace), path)
    with pytest.raises(UserError, match="a pickle"):
        load_checkpoint(path)
    assert not trace.exists()


def test_a_checkpoint_of_another_config_a_torn_one_and_a_strange_one_are_refused(
    tmp_path: Path, checkpoint: Path
) -> None:
    with pytest.raises(UserError, match=r"another network: .*width 16 \(expected 32\)"):
        load_checkpoint(checkpoint, recipe("tiny", crop_px=32, frames=3, width=32))
    whole = checkpoint.read_bytes()
    for length in (0, 5, 300, len(whole) // 2, len(whole) - 1):
        checkpoint.write_bytes(whole[:length])
        with pytest.raises(UserError, match="not whole"):
            load_checkpoint(checkpoint)
    other = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, other)
    with pytest.raises(UserError, match="without this program's header"):
        load_checkpoint(other)
    save_checkpoint(other, UstHand(TINY).state_dict(), CheckpointInfo(recipe("tiny", width=32), 0, {}))
    with pytest.raises(UserError, match="has shape"):
        load_checkpoint(other)
    save_checkpoint(other, {"a": torch.zeros(1)}, CheckpointInfo(TINY, 0, {}))
    with pytest.raises(UserError, match="are missing and 1 are unknown"):
        load_checkpoint(other)
    with pytest.raises(UserError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "absent.safetensors")


def test_a_checkpoint_that_says_it_is_huge_takes_no_memory(tmp_path: Path, checkpoint: Path, monkeypatch: Any) -> None:
    tensors, header = read_tensors(checkpoint)
    built = []

    def build(config: NetworkConfig) -> UstHand:
        built.append(torch.empty(0).device.type)
        return UstHand(config)

    monkeypatch.setattr("models.network.checkpoint.UstHand", build)
    for field, value, message in (
        ("width", 2048, "has shape"),
        ("width", 10**12, "width is 1000000000000, expected 1 to 4096"),
        ("blocks", 10**9, "blocks is 1000000000, expected 1 to 32"),
        ("robust_rounds", 10**9, "robust_rounds is 1000000000, expected 0 to 64"),
    ):
        write_tensors(checkpoint, tensors, header | {"network": header["network"] | {field: value}})
        with pytest.raises(UserError, match=message):
            load_checkpoint(checkpoint)
    assert built == ["meta"]
    write_tensors(checkpoint, tensors, header | {"step": math.inf})
    with pytest.raises(UserError, match="its header lacks or spoils"):
        load_checkpoint(checkpoint)


def write_config(folder: Path, text: str) -> Path:
    (folder / "cache").mkdir(exist_ok=True)
    path = folder / "run.yaml"
    path.write_text(f"output: run\n{text}")
    return path


BAD_CONFIGS = {
    "data: {train: [cache]}\nlearnin_rate: 1": "unknown key `learnin_rate`. Did you mean `learning_rate`",
    "data: {train: [cache], views: [1]}": "numbers from 2 to 8",
    "data: {train: []}": "at least one crop cache",
    "data: {train: [absent]}": "absent`: no such folder",
    "data: {train: [cache]}\nnetwork: {recipe: large}": "'large': unknown; choose one of",
    "data: {train: [cache]}\nnetwork: {widht: 3}": "widht",
    "data: {train: [cache]}\nnetwork: {flow_layers: 100000}": "flow_layers is 100000, expected 1 to 64",
    "data: {train: [cache]}\nlosses: {nll: -1}": "nll is -1",
    "data: {train: [cache]}\nbackbone_weights: r.pth": "r.pth`: no such file",
    "data: {train: [cache]}\nnetwork: {name: small}": "unknown field `name`",
    "data: {train: [cache], augmentation: {scale: 6}}": "augmentation.scale is 6.0, expected from 0 to 1",
    "data: {train: [cache], augmentation: {rotation_deg: .nan}}": "augmentation.rotation_deg is nan",
    "data: {train: [cache], augmentation: {drop_crops: -1}}": "augmentation.drop_crops is -1",
    "data: {train: [cache]}\nframes: 6": "frames is 6, expected at most 5",
    "data: {train: [cache]}\nframes: 0": "frames is 0, expected a number of at least 1",
    "data: {train: [cache]}\nlearning_rate: .nan": "learning_rate is nan",
}


@pytest.mark.parametrize("text", BAD_CONFIGS)
def test_a_wrong_config_is_refused_by_name(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError) as raised:
        read_train_config(write_config(tmp_path, text))
    assert BAD_CONFIGS[text] in str(raised.value)


def test_data_that_cannot_be_trained_on_ends_with_2(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    """Through the training's own process, here."""
    path = write_config(tmp_path, "data: {train: [cache]}\nnetwork: {recipe: tiny, crop_px: 32}\n")
    monkeypatch.setattr("sys.argv", ["training", str(path)])

    def refused(says: str) -> bool:
        code, text = training_main(), capsys.readouterr().err
        return code == 2 and says in text and "Traceback" not in text

    assert refused("session.yaml")
    assert usthand_main(["train", str(path), "--processes", "2"]) == 2
    assert "session.yaml" in capsys.readouterr().err
    whole = shard_of(True)
    frames = ("rows", "sequence", "time_ns", "targets_m", "joints_m")
    write_cache(tmp_path / "cache", [replace(whole, **{name: getattr(whole, name)[:4] for name in frames})])
    assert refused("no window of 5 consecutive frames")
    shutil.rmtree(tmp_path / "cache")
    bad = replace(whole, labels_px=np.full_like(whole.labels_px, np.nan))
    write_cache(tmp_path / "cache", [bad])
    assert refused("`labels_px` holds NaN")
    assert not (tmp_path / "run").exists()


def test_a_training_that_is_stopped_before_it_began_says_so(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("models.training.__main__.open_data", stop)
    monkeypatch.setattr("sys.argv", ["training", str(write_config(tmp_path, "data: {train: [cache]}"))])
    assert training_main() == 1
    assert "stopped before the first step" in capsys.readouterr().err


def test_more_processes_than_gpus_are_refused(monkeypatch: Any) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(UserError, match="process 2 has no GPU of its own: this machine has 1"):
        Processes()


def test_validation_leaves_out_windows_whose_truth_is_not_known() -> None:
    torch.manual_seed(0)
    model = UstHand(TINY).eval()
    batch = batch_of(DotWindows(frames=3, size_px=32, truth=True), 3, 2)
    figures = validate(model, [{name: value[:2] for name, value in batch.items()}], LossConfig(), CPU)
    batch["joints_m"][2] = math.nan
    assert validate(model, [batch], LossConfig(), CPU)["mpjpe_mm"] == pytest.approx(figures["mpjpe_mm"], rel=1e-4)
    batch["joints_m"][:] = math.nan
    assert "mpjpe_mm" not in validate(model, [batch], LossConfig(), CPU)


def test_a_config_is_read_with_its_paths_beside_it(tmp_path: Path, monkeypatch: Any) -> None:
    config = read_train_config(
        write_config(tmp_path, "data: {train: [cache], views: [2, 8]}\nnetwork: {recipe: tiny, casa: false}")
    )
    assert config.data.train == (str(tmp_path / "cache"),) and config.output == str(tmp_path / "run")
    assert config.network_config() == recipe("tiny", casa=False)
    assert msgspec.convert(msgspec.to_builtins(config), TrainConfig) == config
    monkeypatch.chdir(tmp_path)
    assert read_train_config(Path("run.yaml")) == config  # so that a run may be resumed from another folder


def test_a_part_is_left_out_in_a_folder_of_its_own(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    path = write_config(tmp_path, "data: {train: [cache]}\nnetwork: {recipe: tiny, casa: false}")
    config = read_train_config(path, "temporal")
    assert config.network_config() == recipe("tiny", casa=False, temporal=False)
    assert config.output == str(tmp_path / "run_without_temporal")
    write_cache(tmp_path / "cache", [shard_of(True), shard_of(False)])
    path.write_text(path.read_text() + "\nsteps: 1\nbatch: 2\n")
    monkeypatch.setattr("sys.argv", ["train", str(path), "--without", "cross"])
    assert training_main() == 0
    model, _ = load_checkpoint(tmp_path / "run_without_cross" / LAST)
    assert not any(".cross." in name for name in model.state_dict())
    # Two caches of the same name, and a start: both are told apart by their hashes.
    shutil.copytree(tmp_path / "cache", tmp_path / "more" / "cache")
    start = tmp_path / "run_without_cross" / LAST
    path.write_text(path.read_text().replace("[cache]", "[cache, more/cache]") + f"start: {start}\noutput: next\n")
    monkeypatch.setattr("sys.argv", ["train", str(path), "--without", "cross"])
    assert training_main() == 0
    provenance = load_checkpoint(tmp_path / "next_without_cross" / LAST)[1].provenance
    assert set(provenance["manifests_sha256"]) == {f"{tmp_path.name}/cache", "more/cache"}
    assert provenance["start_sha256"] == hashlib.sha256(start.read_bytes()).hexdigest()
    monkeypatch.setattr("sys.argv", ["train", str(path), "--without", "wheels"])
    assert training_main() == 2
    assert "'wheels'; choose one of casa, gcn," in capsys.readouterr().err


def test_the_command_trains_on_a_cache_and_says_where(tmp_path: Path) -> None:
    write_cache(tmp_path / "cache", [shard_of(True), shard_of(False)])
    path = write_config(
        tmp_path,
        "data: {train: [cache], validation: [cache], views: [2, 3]}\n"
        "network: {recipe: tiny, crop_px: 32}\nsteps: 2\nbatch: 2\nvalidate_every: 1\nvalidation_windows: 2\n",
    )
    command = [sys.executable, "-m", "app", "train", str(path)]
    done = subprocess.run([*command, "--json"], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {"output": str(tmp_path / "run"), "step": 2, "steps": 2}
    _, info = load_checkpoint(tmp_path / "run" / LAST)
    manifest = (tmp_path / "cache" / "manifest.json").read_bytes()
    assert info.provenance["manifests_sha256"] == {"cache": hashlib.sha256(manifest).hexdigest()}
    assert "start_sha256" not in info.provenance
    assert str(tmp_path) not in (tmp_path / "run" / "last.json").read_text()
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert again.returncode == 2 and "holds a run already" in again.stderr and "Traceback" not in again.stderr


def test_the_command_makes_the_caches_that_the_training_takes(tmp_path: Path, monkeypatch: Any) -> None:
    made = []
    monkeypatch.setattr("app.commands.train.cache_of", lambda *args: made.append(args))
    monkeypatch.setattr("app.commands.train.run_program", lambda *_: 0)
    path = write_config(tmp_path, "data: {train: [cache]}\nnetwork: {recipe: live}\n")
    assert usthand_main(["train", str(path)]) == 0
    assert made == [(tmp_path / "cache", 280, True)]


def test_two_trainings_do_not_write_into_one_folder(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    """Neither has saved yet. The lock is the first one's process's, not that of its workers, and goes with it."""
    write_cache(tmp_path / "cache", [shard_of(True)])
    network = "network: {recipe: tiny, crop_px: 32}\nsteps: 1\nbatch: 2\nworkers: 0\n"
    path = write_config(tmp_path, f"data: {{train: [cache]}}\n{network}")
    code = (
        "import os, sys, time\nfrom pathlib import Path\n"
        "from models.training.__main__ import _take_folder\nfrom models.training.processes import Processes\n"
        "_take_folder(Path(sys.argv[1]), Processes())\n"
        "if os.fork():\n    print('taken', flush=True)\ntime.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    first = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert first.stdout is not None and first.stdout.readline() == b"taken\n"
        monkeypatch.setattr("sys.argv", ["training", str(path)])
        assert training_main() == 2
        assert "another training is writing there" in capsys.readouterr().err
        assert not (tmp_path / "run" / LAST).exists()
        first.kill()
        first.wait()
        assert training_main() == 0
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()


@pytest.mark.slow
def test_a_run_of_two_processes_that_cannot_be_ends_with_one_message(tmp_path: Path) -> None:
    write_cache(tmp_path / "cache", [shard_of(True)])
    path = write_config(tmp_path, "data: {train: [cache]}\nnetwork: {recipe: tiny, crop_px: 32}\nbatch: 100\n")
    command = [sys.executable, "-m", "app", "train", str(path), "--processes", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr[-3000:]
    assert done.stderr.count("fewer than a batch") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "group", "processes"),
    [(signal.SIGTERM, False, 1), (signal.SIGTERM, True, 1), (signal.SIGINT, True, 1), (signal.SIGINT, True, 2)],
)
def test_a_training_that_is_told_to_end_saves_and_leaves_no_process(
    tmp_path: Path, number: int, group: bool, processes: int
) -> None:
    write_cache(tmp_path / "cache", [shard_of(True)])
    path = write_config(tmp_path, "data: {train: [cache]}\nnetwork: {recipe: tiny, crop_px: 32}\nbatch: 2\n")
    code = (  # a shell's background jobs ignore the interrupt
        "import signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from app.cli import main\nsys.exit(main())"
    )
    command = [sys.executable, "-c", code, "train", str(path), "--processes", str(processes)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, start_new_session=True) as run:
        assert run.stderr is not None
        said = b""
        while not re.search(rb"[1-9]/60000", said):
            said += os.read(run.stderr.fileno(), 4096)
        family = psutil.Process(run.pid).children(recursive=True)
        (os.killpg if group else os.kill)(run.pid, number)
        rest = run.stderr.read()
    assert run.returncode == 0 and b"Traceback" not in rest, rest[-3000:]
    assert b"stopped at step" in rest
    load_checkpoint(tmp_path / "run" / LAST)
    assert len(family) >= 2 and not psutil.wait_procs(family, 10)[1]
