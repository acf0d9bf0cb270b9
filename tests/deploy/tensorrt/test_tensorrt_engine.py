"""The TensorRT engine: on a fake GPU everything but CUDA and TensorRT themselves, on a real one all of it."""

import hashlib
import json
import logging
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import numpy as np
import pytest

from calibration.errors import UserError
from deploy.artefact.manifest import MANIFEST, read_manifest
from deploy.batches import CropBatch
from deploy.engines import make_engine
from deploy.engines.cloud_rings import CloudRing
from deploy.export.mixed_precision_parity import write_half_directory
from deploy.export.parity import LOWER, STAGE1, compare, run_window
from deploy.tensorrt.build import build
from deploy.tensorrt.library import Library, load_library
from deploy.tensorrt.manifest import NETWORKS, TENSORRT_MANIFEST, read_tensorrt_manifest
from tests.deploy.test_export import window
from tests.support.fake_gpu import FakeCuda, FakeTrt
from tests.support.tensorrt_cases import built_directory, needs_gpu, needs_no_gpu, needs_rtx, run_rings

pytestmark = [pytest.mark.slow, needs_rtx]
LIBRARIES = ("tensorrt", "tensorrt_rtx")
MIRROR_Z = np.diag([1.0, 1.0, -1.0])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_directory(tmp_path_factory.getbasetemp())


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()
    monkeypatch.setattr("deploy.tensorrt.cuda.cudart", fake)
    return fake


@pytest.fixture(params=LIBRARIES)
def directory(
    request: pytest.FixtureRequest, built: Path, tmp_path: Path, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A directory whose networks are mixed precision ONNX files, and so are its engines, which the fake GPU runs."""
    pytest.importorskip("onnxruntime")
    library = Library(request.param, FakeTrt(cuda))  # type: ignore[arg-type]
    monkeypatch.setattr("deploy.tensorrt.engine.load_library", lambda name: library)
    manifest = read_tensorrt_manifest(built, read_manifest(built))
    write_half_directory(built, tmp_path)
    engines = []
    for network in NETWORKS:
        content = (tmp_path / f"{network}.onnx").read_bytes()
        (tmp_path / f"{network}.sm89.engine").write_bytes(content)
        engine = next(each for each in manifest.engines if each.file == f"{network}.sm89.engine")
        engines.append(msgspec.structs.replace(engine, sha256=hashlib.sha256(content).hexdigest()))
    networks = hashlib.sha256((tmp_path / MANIFEST).read_bytes()).hexdigest()
    changes: dict[str, Any] = {"library": request.param, "version": "1.2.3", "manifest_sha256": networks}
    manifest = msgspec.structs.replace(manifest, engines=tuple(engines), **changes)
    (tmp_path / TENSORRT_MANIFEST).write_bytes(msgspec.json.encode(manifest))
    return tmp_path


def test_windows_go_through_the_device_unchanged(directory: Path, cuda: FakeCuda) -> None:
    engine, exact = make_engine(str(directory), "tensorrt"), make_engine(str(directory), "onnxruntime")
    assert engine.shape == exact.shape and "on Fake GPU" in engine.name
    engine.prepare((1, 2), 4)
    for views in (2, 3, 4, 8):
        case = window(views, seed=views)
        expected_m = run_window(exact, case)
        assert run_window(engine, case) == pytest.approx(expected_m, abs=1e-6)
        assert run_rings(engine, case) == pytest.approx(expected_m, abs=1e-6)
    assert (cuda.launches > 0) == engine.name.startswith("TensorRT 1.2.3")  # that for RTX has graphs of its own
    engine.close()
    engine.close()
    assert not cuda.memory
    compiled = [path.name for path in directory.glob("*.cache")]
    assert sorted(compiled) == (
        [] if engine.name.startswith("TensorRT 1.2.3") else ["stage1.sm89.cache", "stpt.sm89.cache"]
    )


def test_rings_of_two_hands_do_what_cloud_rings_do(directory: Path) -> None:
    engine, exact = make_engine(str(directory), "tensorrt"), make_engine(str(directory), "onnxruntime")
    cases = [window(3, seed) for seed in (1, 2)]
    mirrors = (np.eye(3), MIRROR_Z)
    rings = engine.make_rings(2, nullcontext())
    rings.add(0, np.eye(3))
    rings.run_stage1([0], [np.ones(3)], CropBatch(*(cases[0][name][None, 0] for name in STAGE1)))
    rings.remove(0)  # its memory, and nothing else, is the next hand's
    for hand in (0, 1):
        rings.add(hand, mirrors[hand])
    clouds = [CloudRing(exact.shape, mirror) for mirror in mirrors]
    for step in range(2 * exact.shape.frames + 3):
        t, origins = step % exact.shape.frames, [np.array([0.1 * step, hand, -0.02 * step]) for hand in (0, 1)]
        given = CropBatch(*(np.stack([case[name][t] for case in cases]) for name in STAGE1))
        seen, found = rings.run_stage1((0, 1), origins, given), exact.run_stage1(*given)
        assert seen.keypoints_px == pytest.approx(found.keypoints_px, abs=1e-5)
        assert seen.confidence == pytest.approx(found.confidence, abs=1e-6)
        for hand in (0, 1):
            clouds[hand].push(found, hand, origins[hand])
        if step % 4 == 1:
            rings[0].withdraw(rings[0].count)
            clouds[0].withdraw(clouds[0].count)
            rings[1].miss()
            clouds[1].miss()
            continue
        refined = rings.refine((0, 1))
        for hand in (0, 1):
            expected = exact.refine(clouds[hand].window())
            assert refined.joints_m[hand] == pytest.approx(expected.joints_m[0], abs=1e-6)
            assert refined.covariance_m2[hand] == pytest.approx(expected.covariance_m2[0], abs=1e-9)


def test_more_hands_than_the_engine_takes_at_once_go_through_in_turn(directory: Path) -> None:
    engine, exact = make_engine(str(directory), "tensorrt"), make_engine(str(directory), "onnxruntime")
    cases, slots = [window(3, seed) for seed in range(5)], range(5)
    engine.prepare(range(1, 6), 3)
    every_rings = [each.make_rings(5, nullcontext()) for each in (engine, exact)]
    for rings in every_rings:
        for slot in slots:
            rings.add(slot, MIRROR_Z if slot % 2 else np.eye(3))
    for t in range(3):
        given = CropBatch(*(np.stack([case[name][t] for case in cases]) for name in STAGE1))
        origins = [np.array([0.1 * t, slot, 0.0]) for slot in slots]
        found, expected = (rings.run_stage1(slots, origins, given) for rings in every_rings)
        assert found.keypoints_px == pytest.approx(expected.keypoints_px, abs=1e-5)
        assert found.confidence == pytest.approx(expected.confidence, abs=1e-6)
    found, expected = (rings.refine(slots) for rings in every_rings)
    assert found.joints_m == pytest.approx(expected.joints_m, abs=1e-6)
    assert found.covariance_m2 == pytest.approx(expected.covariance_m2, abs=1e-9)


def test_sizes_that_the_engine_does_not_take_are_refused(directory: Path) -> None:
    engine, case = make_engine(str(directory), "tensorrt"), window(3)
    for views in (1, 9):
        given = [np.resize(case[name][0], (1, views, *case[name].shape[2:])) for name in STAGE1]
        with pytest.raises(UserError, match=f"{views} views, but the engine takes 2 to 8"):
            engine.run_stage1(*given)
        with pytest.raises(UserError, match=f"{views} views, but the engine takes 2 to 8"):
            engine.prepare((1,), views)


def test_many_places_are_looked_at_a_few_at_a_time(directory: Path) -> None:
    engine, exact = make_engine(str(directory), "tensorrt"), make_engine(str(directory), "onnxruntime")
    case = window(3)
    given = [case[name] for name in STAGE1]  # the five frames as five places
    engine.prepare((len(given[0]),), 3)
    with mock.patch.object(engine, "run_stage1", wraps=engine.run_stage1) as timed:  # as the bench does
        found = engine.run_stage1(*given)
    timed.assert_called_once()
    for part in (slice(0, 2), slice(2, 4), slice(4, 5)):
        for all_of_them, expected in zip(found, exact.run_stage1(*(array[part] for array in given)), strict=True):
            assert all_of_them[part] == pytest.approx(expected, abs=1e-6)


def test_without_a_graph_each_frame_is_queued(
    directory: Path, cuda: FakeCuda, caplog: pytest.LogCaptureFixture
) -> None:
    cuda.refuse["cudaStreamEndCapture"] = 901
    engine, exact = make_engine(str(directory), "tensorrt"), make_engine(str(directory), "onnxruntime")
    case = window(4)
    assert run_rings(engine, case) == pytest.approx(run_window(exact, case), abs=1e-6)
    assert cuda.launches == 0
    assert ("no CUDA graph here" in caplog.text) == engine.name.startswith("TensorRT 1.2.3")


def test_what_does_not_fit_this_machine_is_refused(directory: Path, cuda: FakeCuda) -> None:
    path = directory / TENSORRT_MANIFEST
    manifest = json.loads(path.read_text())
    cuda.refuse["cudaMalloc"] = 2
    with pytest.raises(UserError, match=r"MiB do not fit: the GPU is out of memory. Close other programs"):
        make_engine(str(directory), "tensorrt")
    cuda.refuse.clear()
    path.write_text(json.dumps(manifest | {"version": "1.0.0"}))
    with pytest.raises(UserError, match=r"were built by TensorRT.* 1.0.0, and 1.2.3 is installed. Build them again"):
        make_engine(str(directory), "tensorrt")
    engines = [each | {"compute_capability": "12.0"} for each in manifest["engines"]]
    path.write_text(json.dumps(manifest | {"engines": engines}))
    with pytest.raises(
        UserError, match=r"compute capability 12.0, and the GPU here has 8.9. Build one: usthand export"
    ):
        make_engine(str(directory), "tensorrt")
    refused = b"of another GPU"
    for network in NETWORKS:
        (directory / f"{network}.sm89.engine").write_bytes(refused)
    engines = [each | {"sha256": hashlib.sha256(refused).hexdigest()} for each in manifest["engines"]]
    path.write_text(json.dumps(manifest | {"engines": engines}))
    with pytest.raises(UserError, match=r"stage1.sm89.engine cannot be loaded.*says: no kernel image"):
        make_engine(str(directory), "tensorrt")


def test_auto_takes_tensorrt_first_and_goes_on_without(
    directory: Path, cuda: FakeCuda, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert make_engine(str(directory)).name.startswith("TensorRT")
    assert "engine: tensorrt, the first choice" in caplog.text
    cuda.refuse["cudaMalloc"] = 2
    assert make_engine(str(directory)).name.startswith("OpenVINO")
    assert "engine: tensorrt does not work here: " in caplog.text and ", since tensorrt does not work" in caplog.text


@needs_no_gpu
def test_without_a_gpu_it_is_said(built: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UserError, match=r"no NVIDIA GPU can be used here .* install its driver, or choose"):
        make_engine(str(built), "tensorrt")
    assert make_engine(str(built)).name.startswith("OpenVINO")
    assert "engine: tensorrt does not work here: no NVIDIA GPU can be used here" in caplog.text


@needs_gpu
def test_the_engine_on_this_gpu_gives_the_joints_of_float32(built: Path, tmp_path: Path) -> None:
    from deploy.tensorrt.cuda import find_gpu

    directory = Path(shutil.copytree(built, tmp_path / "engine"))
    build(directory, [find_gpu().compute_capability], load_library())
    engine, exact = make_engine(str(directory), "tensorrt"), make_engine(str(directory), "onnxruntime")
    engine.prepare((1, 2), 4)
    for views in range(2, 9):
        case = window(views, seed=views)
        expected_m = run_window(exact, case)[None]
        for run in (run_window, run_rings):
            found = compare(engine.name, views, run(engine, case)[None], expected_m)
            assert found.mean_mm < LOWER.mm, (run, found)
    engine.close()
    again = make_engine(str(directory), "tensorrt")  # with the kernels that the first one compiled
    case = window(8, seed=8)
    found = compare(again.name, 8, run_rings(again, case)[None], run_window(exact, case)[None])
    assert found.mean_mm < LOWER.mm, found
    again.close()
