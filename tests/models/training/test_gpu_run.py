"""Packed crops say what their caches do, and the whole path of a run on a GPU goes on a processor, at a small size."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from calibration.errors import UserError
from calibration.found_files import hash_found
from deploy.measure import cuda_ways
from models.data.crop_cache import CacheManifest, write_manifest
from models.data.pack_crops import pack
from models.data.packed_crops import PackedCrops, rgb_of
from models.network.checkpoint import load_checkpoint
from models.network.config import RECIPES
from models.network.lifting import triangulate
from models.training import gpu_run
from tests.conftest import ROOT
from tests.deploy.test_export import manifest_of
from tests.models.data.test_windows import FRAMES, VIEWS, shard_of, write_cache

CPU = torch.device("cpu")
ABSENT = ("cv2", "scipy", "openvino", "onnxruntime", "onnxscript", "tensorboard", "tqdm", "tensorrt", "open3d")
SIDE = 96


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hands to learn from and one to validate on, perfect labels."""
    folder = tmp_path_factory.mktemp("packed")
    train = write_cache(folder / "train", [shard_of(False), shard_of(True)])
    held = write_cache(folder / "held", [shard_of(True)])
    out = folder / "packed.npz"
    assert pack(out, [train], [held], mib=20) == 0
    return out


@pytest.mark.parametrize("drawn", [False, True])
def test_labels_and_cameras_of_windows_give_the_true_joints(packed: Path, drawn: bool) -> None:
    """Of views that are seen and of those that are not, as they are and through every augmentation."""
    crops = PackedCrops(packed, CPU)
    newest, held = crops.windows(5, held=False), crops.windows(5, held=True)
    assert len(newest) == 2 * (FRAMES - 4) and len(held) == FRAMES - 4
    generator = torch.Generator().manual_seed(0) if drawn else None
    batch = crops.batch(newest, 5, 2, SIDE, "anatomical", generator)
    assert batch["view_mask"].all() and batch["view_mask"].shape[2] == 2
    for prefix, labels, confidence in (
        ("", "labels_px", "label_confidence"),
        ("unseen_", "unseen_labels_px", "unseen_confidence"),
    ):
        points_px, weights = batch[labels].transpose(2, 3), batch[confidence].transpose(2, 3)
        found_m = triangulate(points_px, weights, batch[f"{prefix}P_crop"][:, :, None], SIDE)
        assert (found_m - batch["joints_m"]).abs().max() < 2e-4, prefix
    assert batch["unseen_P_crop"].shape[2] == VIEWS - 2
    last_m, first_m = batch["joints_m"][:, -1, 0], batch["joints_m"][:, 0, 0] + batch["origins_m"][:, 0]
    world_m = (last_m - first_m).norm(dim=-1)
    plain = crops.batch(newest, 5, 2, SIDE, "anatomical")
    plain_m = plain["joints_m"][:, -1, 0] - plain["joints_m"][:, 0, 0] - plain["origins_m"][:, 0]
    assert world_m == pytest.approx(plain_m.norm(dim=-1), abs=1e-5)  # how far the wrist moved


@pytest.mark.parametrize("drawn", [False, True])
def test_pictures_show_the_dots_where_the_labels_are(packed: Path, drawn: bool) -> None:
    """The middle finger's tip is red, all else green."""
    crops = PackedCrops(packed, CPU)
    generator = torch.Generator().manual_seed(3) if drawn else None
    batch = crops.batch(crops.windows(1, held=False)[:6], 1, 3, SIDE, "anatomical", generator)
    v, u = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    checked = 0
    for crop, label in zip(batch["crops_rgb"].flatten(0, 2), batch["labels_px"].flatten(0, 2)[:, 12], strict=True):
        if not (label.min() > 5 and label.max() < SIDE - 6):
            continue
        red = (crop[..., 0].float() - crop[..., 1].float()).clamp_min(0)
        red = red * (red > red.max() / 2)
        centre = torch.stack([(u * red).sum(), (v * red).sum()]) / red.sum()
        assert red.max() > 40 and (centre - label).norm() < 1.5, (centre, label)
        checked += 1
    assert checked > 8


def test_colours_come_back() -> None:
    rgb = torch.tensor([[200, 30, 90], [10, 250, 20], [128, 128, 128], [255, 255, 255]]).double()
    Y = rgb @ torch.tensor([0.299, 0.587, 0.114]).double()
    chroma = torch.stack([(rgb[:, 2] - Y) / 1.772 + 128, (rgb[:, 0] - Y) / 1.402 + 128], -1)
    luma = Y.round().byte()[:, None, None].expand(-1, 2, 2)
    found = rgb_of(luma, chroma.round().clamp(0, 255).byte()[:, None, None])
    assert (found[:, 1, 1].double() - rgb).abs().max() <= 3


def test_the_file_keeps_to_its_size_and_what_is_none_is_refused(packed: Path, tmp_path: Path) -> None:
    cache = write_cache(tmp_path / "cache", [shard_of(True), shard_of(False)])
    whole = packed.stat().st_size
    pack(tmp_path / "small.npz", [cache], [], mib=whole / 2.5 / (1 << 20))
    assert (tmp_path / "small.npz").stat().st_size < whole / 2
    assert 0 < len(PackedCrops(tmp_path / "small.npz", CPU).windows(5, held=False)) == FRAMES - 4
    with pytest.raises(UserError, match="no packed crops"):
        PackedCrops(cache / "manifest.json", CPU)


def test_that_there_is_nothing_to_pack_is_said(tmp_path: Path) -> None:
    cache = write_cache(tmp_path / "cache", [shard_of(True)])
    with pytest.raises(UserError, match=r"no hand to pack: .*/cache, .*`--mib 0\.001`"):
        pack(tmp_path / "out.npz", [cache], [], mib=0.001)
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize("size_px", [0, 141])
def test_a_side_that_could_not_be_read_again_is_refused(tmp_path: Path, size_px: int) -> None:
    cache = write_cache(tmp_path / "cache", [shard_of(True)])
    with pytest.raises(UserError, match=f"`--size {size_px}`: .*Give an even number"):
        pack(tmp_path / "out.npz", [cache], [], mib=20, size_px=size_px)
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.slow
def test_the_whole_path_goes_on_a_processor_without_what_a_gpu_machine_lacks(packed: Path, tmp_path: Path) -> None:
    """No OpenCV, no OpenVINO and the like: the recipe is trained, kept, checked and timed, the rest named."""
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({ABSENT}))\n")
    out = tmp_path / "out"
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    command = ["-m", "models.training.gpu_run", packed, "--out", out, "--minutes", "0.1", "--recipes", "tiny"]
    done = subprocess.run(
        [sys.executable, *map(str, command), "--device", "cpu", "--batch", "6"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((out / "result.json").read_text())
    assert json.loads(done.stdout.splitlines()[-1]) == result
    tiny = result["recipes"]["tiny"]
    assert tiny["curve"][-1]["step"] == tiny["steps"] >= 2
    assert all(np.isfinite(row["mpjpe_mm"]) and row["mpjpe_mm"] > 0 for row in tiny["curve"])
    assert load_checkpoint(out / tiny["checkpoint"])[1].step == tiny["steps"]
    ways = {each["way"]: each for each in tiny["ways"]}
    assert list(ways) == ["torch float32", "torch bfloat16", "torch float16", "ONNX Runtime", "TensorRT"]
    assert ways["torch float32"]["holds"] and ways["torch float32"]["tolerance_mm"] == 0.01
    assert ways["torch float32"]["max_mm"] < 1e-3 < ways["torch bfloat16"]["mean_mm"]
    assert all(ways[name][key] > 0 for name in list(ways)[:2] for key in ("stage1_ms_1", "stpt_ms_2"))
    assert "onnxruntime, onnxscript is not installed" in ways["ONNX Runtime"]["left_out"]


def run_options(packs: list[Path], out: Path, *words: str) -> argparse.Namespace:
    """As of the command line, on the processor: the least training of the smallest recipe."""
    said = ["gpu_run", *map(str, packs), "--out", str(out), "--minutes", "0.001", "--device", "cpu", "--batch", "3"]
    with pytest.MonkeyPatch.context() as patch:
        found: list[argparse.Namespace] = []
        patch.setattr(sys, "argv", [*said, *words])
        patch.setattr(gpu_run, "run", lambda args: found.append(args) or 0)
        assert gpu_run.main() == 0
    return found[0]


def test_a_recipe_that_fails_is_named_and_the_next_one_is_trained(packed: Path, tmp_path: Path, monkeypatch, capsys):
    class Failing(gpu_run.TimedTraining):
        def train(self, seconds, on_validation) -> None:
            if self.config.recipe == "small":
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore")
            super().train(seconds, on_validation)

    checked: list[tuple[Path, float]] = []
    monkeypatch.setattr(gpu_run, "TimedTraining", Failing)
    monkeypatch.setattr(gpu_run, "check", lambda checkpoint, *given: checked.append((checkpoint, given[-1])) or [])
    args = run_options([packed], tmp_path, "--recipes", "small", "tiny", "--within", "60")
    assert gpu_run.run(args) == 1
    recipes = json.loads((tmp_path / "result.json").read_text())["recipes"]
    assert recipes["small"]["failed"] == "CUDA out of memory. Tried to allocate 2 GiB."
    assert "in train" in recipes["small"]["traceback"]
    assert recipes["tiny"]["steps"] >= 2 and "failed" not in recipes["tiny"]
    ((checkpoint, seconds),) = checked
    assert checkpoint == tmp_path / "tiny.safetensors" and checkpoint.is_file()
    assert 0 < seconds < 3600  # all of what is left of the whole run
    assert "recipe `small`: failed (CUDA out of memory" in capsys.readouterr().err


def test_a_way_that_is_not_finite_is_said_so_in_json(packed: Path, tmp_path: Path, monkeypatch, capsys):
    """One joint in one way, of a network that was not trained."""
    training = gpu_run.TimedTraining("tiny", PackedCrops(packed, CPU), 3)
    checkpoint = tmp_path / "tiny.safetensors"
    gpu_run.save_checkpoint(checkpoint, training.model.state_dict(), gpu_run.CheckpointInfo(RECIPES["tiny"], 0, {}))
    np.savez(tmp_path / "windows.npz", **training.windows_to_check())  # type: ignore[arg-type]
    made = iter(range(100))

    class Wrong(cuda_ways.TorchEngine):
        def __init__(self, *given) -> None:
            super().__init__(*given)
            self.wrong = next(made) == 0  # the first way; then comes what it is compared with

        def refine(self, window):
            found = super().refine(window)
            if self.wrong:
                found.joints_m[0, 3] = np.nan
            return found

    monkeypatch.setattr(cuda_ways, "TorchEngine", Wrong)
    monkeypatch.setattr(cuda_ways, "_SECONDS", 0.01)
    args = argparse.Namespace(checkpoint=str(checkpoint), windows=tmp_path / "windows.npz", device="cpu", exported=None)
    assert cuda_ways.run(args) == 0
    names, first, *others = map(json.loads, capsys.readouterr().out.splitlines())
    assert names["ways"] == ["torch float32", "torch bfloat16", "torch float16"]
    assert first["way"] == "torch float32" and not first["finite"] and not first["holds"]
    assert first["max_mm"] is None and first["mean_mm"] is None and first["median_mm"] < 1e-3
    assert [row["tolerance_mm"] for row in (first, *others)] == [0.01, 0.5, 0.5]
    assert all(row["finite"] and row["mean_mm"] > 0 for row in others)


def test_a_runtime_that_knows_no_cuda_is_said_to_run_on_the_processor(
    packed: Path, tmp_path: Path, monkeypatch, capsys
):
    training = gpu_run.TimedTraining("tiny", PackedCrops(packed, CPU), 3)
    checkpoint = tmp_path / "tiny.safetensors"
    gpu_run.save_checkpoint(checkpoint, training.model.state_dict(), gpu_run.CheckpointInfo(RECIPES["tiny"], 0, {}))
    np.savez(tmp_path / "windows.npz", **training.windows_to_check())  # type: ignore[arg-type]

    def on_cpu(_around: object) -> cuda_ways.TorchEngine:
        engine = cuda_ways.TorchEngine(str(checkpoint), "cpu")
        engine.name = "ONNX Runtime 1 on the CPU"
        return engine

    def missing(_around: object) -> cuda_ways.TorchEngine:
        raise ImportError("tensorrt is not installed")

    monkeypatch.setattr(cuda_ways, "_exported_ways", lambda *_: {"ONNX Runtime": on_cpu, "TensorRT": missing})
    monkeypatch.setattr(cuda_ways, "_SECONDS", 0.01)
    args = argparse.Namespace(
        checkpoint=str(checkpoint), windows=tmp_path / "windows.npz", device="cuda", exported=tmp_path
    )
    assert cuda_ways.run(args) == 0
    _, row, left_out = map(json.loads, capsys.readouterr().out.splitlines())
    assert row["note"] == "on the processor: what is installed knows no CUDA" and row["holds"]
    assert left_out == {"way": "TensorRT", "left_out": "tensorrt is not installed"}


def test_graphs_are_made_for_as_many_views_as_the_windows_have(packed: Path, tmp_path: Path, monkeypatch) -> None:
    """Windows of another number of views run without them, under their name."""
    training = gpu_run.TimedTraining("tiny", PackedCrops(packed, CPU), 3)
    checkpoint = tmp_path / "tiny.safetensors"
    gpu_run.save_checkpoint(checkpoint, training.model.state_dict(), gpu_run.CheckpointInfo(RECIPES["tiny"], 0, {}))
    windows = {name: array[:1] for name, array in training.windows_to_check().items()}
    windows |= {name: windows[name][:, :, :2] for name in ("crops_rgb", "P_crop", "view_mask")}
    np.savez(tmp_path / "windows.npz", **windows)  # type: ignore[arg-type]
    prepared, seen = [], set()

    class OnCpu(cuda_ways.TorchEngine):
        def __init__(self, checkpoint: str, device: str) -> None:
            super().__init__(checkpoint, "cpu")

        def prepare(self, hands, views) -> None:
            prepared.append((hands, views))

        def run_stage1(self, crops_rgb, *others):
            seen.add(crops_rgb.shape[1])
            return super().run_stage1(crops_rgb, *others)

    monkeypatch.setattr(cuda_ways, "TorchEngine", OnCpu)
    monkeypatch.setattr(cuda_ways, "_SECONDS", 0.01)
    args = argparse.Namespace(
        checkpoint=str(checkpoint), windows=tmp_path / "windows.npz", device="cuda", exported=None
    )
    assert cuda_ways.run(args) == 0
    assert seen == {2} and prepared == [([1, 2], 2)] * 3


def test_networks_that_an_earlier_run_exported_are_not_checked_against_a_later_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs into one folder; the two ways of each share what is exported."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    checkpoint, exported = tmp_path / "tiny.safetensors", []

    def export(source: str, directory: Path) -> None:
        exported.append(Path(source).read_bytes())
        directory.mkdir(exist_ok=True)
        manifest_of(directory, checkpoint_sha256=hash_found(Path(source)))

    monkeypatch.setattr("deploy.export.onnx_export.export", export)
    monkeypatch.setattr("deploy.engines.make_engine", lambda directory, name: name)
    for weights in (b"first", b"second"):
        checkpoint.write_bytes(weights)
        for _ in range(2):
            cuda_ways._exported(str(checkpoint), tmp_path / "engines", "onnxruntime")
    assert exported == [b"first", b"second"]


def test_ways_that_were_not_reached_are_named(monkeypatch, tmp_path: Path) -> None:
    """By programs that end, or do not, after they have said one way."""
    says = "import json\nfor row in ({'ways': ['a', 'b', 'c']}, {'way': 'a', 'max_mm': float('nan')}):\n"
    says += "    print(json.dumps(row), flush=True)\n"
    rows = gpu_run._rows([sys.executable, "-c", f"{says}raise SystemExit(3)"], "of torch", 60.0)
    assert [row["way"] for row in rows] == ["a", "b", "c"]
    assert "ended with 3" in rows[1]["left_out"] and "left_out" not in rows[0]
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    rows = gpu_run._rows([sys.executable, "-c", f"{says}open({str(ready)!r}).read()"], "of torch", 2.0)
    assert "not reached in the 2 s" in rows[-1]["left_out"] and rows[-1]["way"] != "a"
    (row,) = gpu_run._rows([sys.executable, "-c", "raise SystemExit(1)"], "of torch", -1.0)
    assert row["way"] == "all ways of torch"
    limits: list[float] = []
    monkeypatch.setattr(gpu_run, "_rows", lambda command, ways, seconds: limits.append(seconds) or [{"way": ways}])
    rows = gpu_run.check(tmp_path, tmp_path, "cpu", tmp_path, 60.0)
    assert [row["way"] for row in rows] == ["of torch", "of exported networks"]
    assert limits[0] == 30.0 and 30.0 < limits[1] <= 60.0  # what the first does not take is the second's


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """Of simulated upright crops, and of plain ones."""
    folder = tmp_path_factory.mktemp("packs")
    for upright in (True, False):
        cache = write_cache(folder / f"{upright}", [shard_of(False)])
        manifest = CacheManifest(
            size_px=160, views=VIEWS, truth=True, source="simulated", settings={"upright": upright}
        )
        write_manifest(cache, manifest)
        pack(folder / f"{upright}.npz", [cache], [], mib=20)
    with pytest.raises(UserError, match=r"True has upright crops and .*False plain ones.*Pack them apart"):
        pack(folder / "both.npz", [folder / "True"], [folder / "False"], mib=20)
    return {upright: folder / f"{upright}.npz" for upright in (True, False)}


def test_each_recipe_takes_the_pack_of_its_crops(packs: dict[bool, Path], packed: Path) -> None:
    both = {path: PackedCrops(path, CPU) for path in packs.values()}
    assert [both[packs[upright]].upright for upright in (True, False)] == [True, False]
    assert gpu_run.pack_for("live", both) == packs[True]
    assert gpu_run.pack_for("paper", both) == gpu_run.pack_for("tiny", both) == packs[False]
    unknown = {packed: PackedCrops(packed, CPU)}
    assert gpu_run.pack_for("live", unknown) == gpu_run.pack_for("paper", unknown) == packed
    with pytest.raises(UserError, match="both fit recipe `paper`"):
        gpu_run.pack_for("paper", both | unknown)


def test_without_crops_to_validate_on_the_curve_has_the_loss_alone(packs: dict[bool, Path]) -> None:
    training = gpu_run.TimedTraining("tiny", PackedCrops(packs[False], CPU), 3)
    training.train(0.001, lambda: None)
    assert training.curve and all(row["loss"] and "mpjpe_mm" not in row for row in training.curve)
    assert len(training.windows_to_check()["P_crop"]) == 4


def test_what_cannot_be_is_refused_before_anything_is_trained(packs: dict[bool, Path], tmp_path: Path, capsys) -> None:
    file = tmp_path / "file"
    file.touch()
    for given, out, words, said in (
        (packs[True], tmp_path / "out", (), "recipe `paper` takes plain crops"),
        (packs[False], tmp_path / "out", (), "recipe `live` takes upright crops"),
        (packs[True], tmp_path / "out", ("--device", "bogus"), "`--device bogus`"),
        (packs[True], tmp_path / "out", ("--device", "meta"), "`--device meta`"),
        (packs[True], tmp_path / "out", ("--device", "cuda:99"), "torch finds no such GPU here"),
        (packs[True], file, (), "is a file. Give a folder"),
        (packs[True], tmp_path / "out", ("--within", "0.001"), "leaves no time for checks"),
    ):
        args = run_options([given], out, *words)
        assert gpu_run.exit_code(lambda args=args: gpu_run.run(args)) == 2
        assert said in capsys.readouterr().err
        assert not (out / "result.json").exists()


@pytest.mark.slow
def test_no_gpu_and_missing_crops_are_named(packed: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    for words, said in (
        ((packed,), "torch finds no such GPU here"),
        ((tmp_path, "--device", "cpu"), "no packed crops"),
    ):
        command = [sys.executable, "-m", "models.training.gpu_run", *map(str, words), "--out", str(tmp_path / "out")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
