"""Exported engines: the joints of torch for any number of views, through the ring; what does not fit is refused."""

import argparse
import json
import logging
import re
import shutil
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from app.commands import common
from app.commands.common import checkpoint_of
from calibration.errors import UserError
from deploy import engines
from deploy.artefact.manifest import MANIFEST, Manifest, read_file, read_manifest, stage1_interface, stpt_interface
from deploy.engines import check_engine, engines_that_work, live_engines, make_engine, openvino_engine
from deploy.engines.exported import ExportedEngine
from deploy.export import onnx_export
from deploy.export.parity import FLOAT32, LANDMARKS_LOWER, LOWER, STAGE1, compare, run_window
from deploy.tensorrt.manifest import TENSORRT_MANIFEST
from models.network.checkpoint import CheckpointInfo, save_checkpoint
from models.network.config import recipe
from models.network.ust_hand import UstHand
from tests.support.live_run import last_json, usthand
from tests.support.window_cases import DotWindows, run_pipeline

TINY = recipe("tiny", crop_px=32)
RUNTIMES = ("onnxruntime", "openvino")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("run") / "tiny.safetensors"
    save_checkpoint(path, UstHand(TINY).state_dict(), CheckpointInfo(TINY, 7, {}))
    return path


@pytest.fixture(scope="module")
def exported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The engine directory that the command makes; what it says of itself is checked here, since it takes long."""
    out = tmp_path_factory.mktemp("engine") / "tiny"
    done = usthand("export", checkpoint, out, "--check", "--json", timeout=580)
    assert done.returncode == 0, done.stderr
    parity = last_json(done.stdout)["parity"]
    exact = [each for each in parity if each["tolerance_mm"] == FLOAT32.mm]
    assert {each["views"] for each in parity} == {2, 4, 8} and len(exact) == 6
    assert len(parity) == 6 + 3 * engines.has_bf16()
    assert all(each["max_mm"] <= FLOAT32.mm for each in exact)
    assert all(each["mean_mm"] <= LOWER.mm for each in parity)
    return out


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "engine"))


def window(views: int, seed: int = 0) -> dict[str, np.ndarray]:
    found = {name: value.numpy() for name, value in DotWindows(size_px=32)[seed, 0, views].items()}
    found["view_mask"][2, -1] = views == 2  # a view is absent for a frame
    found["frame_mask"][1] = False
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNTIMES)
def test_an_engine_gives_the_joints_of_torch(name: str, checkpoint: Path, exported: Path) -> None:
    threads = torch.get_num_threads()
    reference, engine = make_engine(str(checkpoint), "torch"), make_engine(str(exported), name)
    assert engine.shape == reference.shape
    for views in (2, 4, 8):
        case = window(views, seed=views)
        joints_m, expected_m = (run_window(each, case)[None] for each in (engine, reference))
        found = compare(name, views, joints_m, expected_m)
        assert found.holds and found.max_mm < 0.001, found  # measured 3e-5
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNTIMES)
def test_any_number_of_hands_goes_through_a_pipeline(name: str, exported: Path) -> None:
    engine, windows = make_engine(str(exported), name), [window(3, seed) for seed in range(5)]
    expected_m = np.stack([run_window(engine, each) for each in windows])
    assert run_pipeline(engine, windows) == pytest.approx(expected_m, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNTIMES)
def test_hands_of_a_batch_do_not_meet(name: str, exported: Path) -> None:
    engine = make_engine(str(exported), name)
    one, other = (window(3, seed) for seed in (1, 2))
    both = engine.run_stage1(*(np.stack([one[key][0], other[key][0]]) for key in STAGE1))
    queries_m, confidence = both.queries_m.copy(), both.confidence.copy()
    for ready in (False, True):  # sizes that the engine was not prepared for, and the same once it was
        for hand, case in enumerate((one, other)):
            alone = engine.run_stage1(*(case[key][None, 0] for key in STAGE1))
            assert alone.queries_m[0] == pytest.approx(queries_m[hand], abs=1e-6), ready
            assert alone.confidence[0] == pytest.approx(confidence[hand], abs=1e-6)
        engine.prepare([1, 2], 3)
    for views in (1, 9):
        case = {key: np.resize(one[key][0], (1, views, *one[key].shape[2:])) for key in STAGE1}
        with pytest.raises(UserError, match=f"{views} views, but the engine takes 2 to 8"):
            engine.run_stage1(*case.values())


@pytest.mark.slow
def test_the_files_are_what_the_manifest_says(exported: Path) -> None:
    manifest = read_manifest(exported)
    assert manifest.network == TINY and manifest.step == 7
    for name, interface in (("stage1.onnx", manifest.stage1), ("stpt.onnx", manifest.stpt)):
        model = onnx.load_from_string(read_file(exported, manifest, name))
        onnx.checker.check_model(model, full_check=True)
        assert [opset.version for opset in model.opset_import if not opset.domain] == [20]
        assert {opset.domain for opset in model.opset_import} == {""}
        assert [value.name for value in model.graph.input] == [spec.name for spec in interface.inputs]
        shapes = [
            [size.dim_param or size.dim_value for size in v.type.tensor_type.shape.dim] for v in model.graph.output
        ]
        assert shapes == [list(spec.shape) for spec in interface.outputs]


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNTIMES)
def test_edited_and_missing_files_are_refused(name: str, copy: Path) -> None:
    path = copy / "stpt.onnx"
    model = onnx.load(str(path))
    model.graph.node[0].name += "_edited"
    onnx.save(model, str(path))
    with pytest.raises(UserError, match=r"stpt.onnx: not the file that manifest.json was written for"):
        make_engine(str(copy), name)
    path.unlink()
    with pytest.raises(UserError, match=r"stpt.onnx: cannot be read"):
        make_engine(str(copy), name)


@pytest.mark.slow
def test_auto_says_what_it_takes_and_goes_on_with_what_works(
    exported: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(engines, "has_bf16", lambda: False)
    assert "OpenVINO" in make_engine(str(exported)).name and "f32" in make_engine(str(exported)).name
    assert "engine: openvino, since tensorrt has no engines here" in caplog.text

    def broken(*_: object) -> ExportedEngine:
        raise RuntimeError("no such device")

    monkeypatch.setattr(openvino_engine, "openvino_engine", broken)
    assert make_engine(str(exported)).name.startswith("ONNX Runtime")
    assert "openvino does not work here: no such device" in caplog.text
    # Live, a named engine that does not work is replaced, and each further failure costs one more.
    caplog.clear()
    found = live_engines(str(exported), "openvino-bf16")
    assert next(found).name.startswith("ONNX Runtime")
    assert "openvino-bf16 does not work here: no such device Looking for another." in caplog.text
    with pytest.raises(UserError, match="no engine is left that works here"):
        next(found)


@pytest.mark.slow
def test_what_onnxruntime_raises_at_its_start_is_a_failure(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Fail(Exception):
        """As ONNX Runtime's own, which are of no class of Python's but this."""

    def broken(*_: object, **__: object) -> None:
        raise Fail("CUDA out of memory")

    monkeypatch.setattr(onnxruntime, "InferenceSession", broken)
    found = live_engines(str(exported), "onnxruntime")
    assert next(found).name.startswith("OpenVINO")


def test_the_order_is_that_of_speed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what is there; the processor of a test machine may or may not have bfloat16, and has no GPU."""
    made: list[str] = []
    monkeypatch.setattr(engines, "_make", lambda source, name: made.append(name))
    for bf16, cuda, expected in (
        (True, False, ["openvino-bf16", "openvino", "onnxruntime"]),
        (False, True, ["onnxruntime", "openvino"]),
    ):
        monkeypatch.setattr(engines, "has_bf16", lambda value=bf16: value)
        monkeypatch.setattr(engines, "has_cuda", lambda value=cuda: value)
        made.clear()
        with pytest.raises(UserError, match="no engine is left"):
            list(engines_that_work(str(tmp_path)))
        assert made == expected
    (tmp_path / TENSORRT_MANIFEST).write_text("{}")
    next(engines_that_work(str(tmp_path)))
    assert made[-1] == "tensorrt"


def manifest_of(directory: Path, **changes: object) -> None:
    manifest = Manifest(
        format="usthand engine 1",
        network=TINY,
        stage1=stage1_interface(TINY),
        stpt=stpt_interface(TINY),
        sha256={},
        checkpoint_sha256="",
        step=0,
        commit="",
        torch="",
    )
    (directory / MANIFEST).write_text(json.dumps(msgspec.to_builtins(manifest) | changes))


def test_manifests_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no manifest.json"):
        read_manifest(tmp_path)
    manifest_of(tmp_path)
    assert read_manifest(tmp_path).network == TINY
    wrong = {
        "format `usthand engine 9`": {"format": "usthand engine 9"},
        "its tensors are not those": {"network": msgspec.to_builtins(recipe("small"))},
        "damaged": {"opset": "twenty"},
        "expected a multiple of 32": {"network": {"crop_px": 50}},
        "unknown field": {"extra": 1},
    }
    for said, changes in wrong.items():
        manifest_of(tmp_path, **changes)
        with pytest.raises(UserError, match=said):
            read_manifest(tmp_path)
    (tmp_path / MANIFEST).write_bytes(b"\xff{")
    with pytest.raises(UserError, match="damaged"):
        read_manifest(tmp_path)


def test_a_checkpoint_that_is_cut_is_said_to_be_so(checkpoint: Path, tmp_path: Path) -> None:
    """Whichever way it is asked for; no directory of an export would mend it."""
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(checkpoint.read_bytes()[:-100])
    for name in ("torch", "auto"):
        with pytest.raises(UserError, match=r"cut.safetensors: not safetensors, or not whole .*Copy or train it again"):
            next(live_engines(str(cut), name))


def test_a_directory_that_cannot_be_made_is_said_before_the_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_export, "load_checkpoint", lambda checkpoint: pytest.fail("the work has begun"))
    (tmp_path / "file").touch()
    for directory, says in (
        ("/proc/engine", "`/proc/engine`: cannot be written"),
        (tmp_path / "file" / "engine", f"{tmp_path / 'file'} is a file. Give a directory"),
        (tmp_path / "file", "is a file. Give a directory"),
    ):
        with pytest.raises(UserError, match=re.escape(says)):
            onnx_export.export("shipped", Path(directory))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_damaged_directory_is_what_is_said_not_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(source: str, _name: str) -> None:
        raise UserError(f"{source}: stpt.onnx is damaged. Export again.")

    manifest_of(tmp_path)
    monkeypatch.setattr(engines, "_make", damaged)
    for name in ("auto", "openvino"):
        with pytest.raises(UserError, match=r"stpt\.onnx is damaged"):
            next(live_engines(str(tmp_path), name))


def test_engines_and_sources_that_do_not_fit_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the engine torch runs checkpoints"):
        check_engine(str(tmp_path), "torch")
    with pytest.raises(UserError, match="Make one: usthand export shipped DIR"):
        check_engine("shipped", "openvino")
    refused = usthand("demo", "--estimator", "ust-hand", "--checkpoint", tmp_path, "--no-viewer")
    assert refused.returncode == 2 and "has no manifest.json" in refused.stderr


def test_a_folder_with_the_name_of_the_packaged_checkpoint_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name is the default of `--checkpoint`, which every estimator has."""
    (tmp_path / "shipped").mkdir()
    monkeypatch.chdir(tmp_path)
    args = argparse.Namespace(checkpoint="shipped", estimator="mediapipe", engine="auto")
    assert checkpoint_of(args) == "shipped"
    check_engine("shipped", "torch")
    monkeypatch.setattr(engines, "_make", lambda source, name: (source, name))
    assert next(live_engines("shipped", "auto")) == ("shipped", "torch")
    monkeypatch.setattr(common, "cached_export", lambda source: Path("exported", source))
    args.estimator = "ust-hand"
    assert checkpoint_of(args) == "exported/shipped"


@pytest.mark.parametrize("engine", ["openvino", "openvino-bf16", "onnxruntime"])
def test_a_checkpoint_is_exported_for_an_engine_that_is_named(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest_of(tmp_path)
    monkeypatch.setattr(common, "cached_export", {"shipped": tmp_path}.get)
    args = argparse.Namespace(checkpoint="shipped", estimator="ust-hand", engine=engine)
    assert checkpoint_of(args) == str(tmp_path)
    args.engine = "torch"
    assert checkpoint_of(args) == "shipped"
    args.engine = "tensorrt"
    with pytest.raises(UserError, match="Make one: usthand export shipped DIR"):
        checkpoint_of(args)
    monkeypatch.setattr(common, "cached_export", lambda source: None)
    args.engine = engine
    with pytest.raises(UserError, match="Make one: usthand export shipped DIR"):
        checkpoint_of(args)


def test_joints_that_are_off_or_no_numbers_do_not_hold() -> None:
    expected_m = np.zeros((2, 21, 3))
    near_m, far_m, none_m = expected_m + 5e-6, expected_m.copy(), expected_m.copy()
    far_m[1, 3, 0] = 2e-5
    none_m[0, 0, 0] = np.nan
    assert compare("e", 2, near_m, expected_m).holds
    assert compare("e", 2, near_m, expected_m).mean_mm == pytest.approx(5e-3 * 3**0.5)
    assert not compare("e", 2, far_m, expected_m).holds
    # One of three, as where another neighbour is taken; two are too many.
    three_m = np.zeros((3, 21, 3))
    assert compare("e", 2, np.concatenate([near_m[:1], far_m]), three_m).holds
    assert not compare("e", 2, np.concatenate([far_m[1:], far_m]), three_m).holds
    assert not compare("e", 2, none_m, expected_m).holds
    assert compare("e", 2, far_m, expected_m, LOWER).holds  # by the mean
    assert not compare("e", 2, expected_m + 1e-3, expected_m, LOWER).holds
    assert not compare("e", 2, none_m, expected_m, LOWER).holds


def test_a_lower_precision_of_a_landmark_network_is_judged_by_its_effect() -> None:
    """Joints that move sideways of their error do not matter, joints that move away from the truth do."""
    true_m, side_m, off_m = np.zeros((2, 21, 3)), np.array([0, 4e-4, 0]), np.array([5e-3, 0, 0])
    expected_m = true_m + off_m
    moved = compare("e", 4, expected_m + side_m, expected_m, LANDMARKS_LOWER, true_m)
    assert moved.holds and moved.error_percent == pytest.approx(100 * (np.hypot(5, 0.4) / 5 - 1))
    assert moved.figures()["tolerance_error_percent"] == 2
    worse = compare("e", 4, expected_m * 1.03, expected_m, LANDMARKS_LOWER, true_m)
    assert worse.mean_mm < 0.2 and worse.error_percent == pytest.approx(3) and not worse.holds
    assert compare("e", 4, expected_m * 0.9, expected_m, LANDMARKS_LOWER, true_m).holds  # better
    assert not compare("e", 4, -expected_m, expected_m, LANDMARKS_LOWER, true_m).holds  # as good, but far away
    assert not compare("e", 4, expected_m, expected_m, LANDMARKS_LOWER).holds  # nobody knows
    some_m = expected_m.copy()
    some_m[:, :9] *= -1  # views that hardly agreed
    assert compare("e", 4, some_m, expected_m, LANDMARKS_LOWER, true_m).holds
    assert not compare("e", 4, expected_m * np.nan, expected_m, LANDMARKS_LOWER, true_m).holds
