"""MediaPipe's hand models under TensorRT: really built (for RTX that needs no GPU), run on a fake or a real GPU."""

from pathlib import Path

import numpy as np
import pytest

from calibration.errors import UserError
from deploy.image_engines import load_image_network
from deploy.tensorrt import image_network
from deploy.tensorrt.image_network import TensorRTImages, build_image_engine, image_interface
from deploy.tensorrt.library import Library, load_library
from models.weights import mediapipe_model
from tests.support.fake_gpu import FakeCuda, FakeTrt
from tests.support.tensorrt_cases import needs_gpu, needs_no_gpu, needs_rtx

pytestmark = needs_rtx
SHAPES = {"palm_detection": (192, 192, 3), "hand_landmark": (224, 224, 3)}


def images(name: str, count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, *SHAPES[name]), dtype=np.uint8)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("capability", ["8.9", "12.0"])
def test_both_models_build_with_a_profile_for_batches(name: str, capability: str) -> None:
    path = mediapipe_model(name)
    content, library = path.read_bytes(), load_library("tensorrt_rtx")
    interface = image_interface(path, content, SHAPES[name])
    engine = build_image_engine(library, content, interface, capability, name)
    assert len(engine) > len(content)  # weights in float32, twice what the file holds


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("kind", ["tensorrt", "tensorrt_rtx"])
def test_batches_of_any_size_are_answered_as_on_the_cpu(
    name: str, kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the fake GPU, whose engines are ONNX files: filling up, parts, buffers and the cache."""
    pytest.importorskip("onnxruntime")
    cuda, built = FakeCuda(), []
    library = Library(kind, FakeTrt(cuda))  # type: ignore[arg-type]
    monkeypatch.setattr("deploy.tensorrt.cuda.cudart", cuda)
    monkeypatch.setattr(image_network, "load_library", lambda: library)
    monkeypatch.setattr(image_network, "build_image_engine", lambda _, content, *rest: built.append(rest) or content)
    path = mediapipe_model(name)
    reference = load_image_network(path, SHAPES[name], "onnxruntime")
    for _ in range(2):
        network = TensorRTImages(path, path.read_bytes(), SHAPES[name], tmp_path)
        assert network.outputs == reference.outputs
        for count in (1, 3, 18):
            given = images(name, count)
            for found, expected in zip(network(given), reference(given), strict=True):
                assert len(found) == count
                np.testing.assert_allclose(found, expected, atol=1e-2)
        network.close()
    assert len(built) == 1


def test_all_models_of_a_run_with_arms_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache keeps the last few of a kind, and the four networks are not one kind."""
    pytest.importorskip("onnxruntime")
    cuda, built = FakeCuda(), []
    library = Library("tensorrt_rtx", FakeTrt(cuda))  # type: ignore[arg-type]
    monkeypatch.setattr("deploy.tensorrt.cuda.cudart", cuda)
    monkeypatch.setattr(image_network, "load_library", lambda: library)
    monkeypatch.setattr(image_network, "build_image_engine", lambda _, content, *rest: built.append(rest) or content)
    for _ in range(2):
        for name, px in (
            ("palm_detection", 192),
            ("hand_landmark", 224),
            ("pose_detection", 224),
            ("pose_landmark", 256),
        ):
            path = mediapipe_model(name)
            TensorRTImages(path, path.read_bytes(), (px, px, 3), tmp_path).close()
    assert len(built) == 4


def test_other_images_are_refused() -> None:
    path = mediapipe_model("hand_landmark")
    with pytest.raises(UserError, match="takes images of any x 224 x 224 x 3, expected batch x 192 x 192 x 3"):
        image_interface(path, path.read_bytes(), (192, 192, 3))


@needs_no_gpu
def test_without_a_gpu_it_says_so_and_another_engine_is_taken() -> None:
    path = mediapipe_model("hand_landmark")
    with pytest.raises(UserError, match="no NVIDIA GPU can be used here"):
        load_image_network(path, SHAPES["hand_landmark"], "tensorrt")
    assert "TensorRT" not in load_image_network(path, SHAPES["hand_landmark"]).name


@needs_gpu
@pytest.mark.parametrize("name", SHAPES)
def test_a_real_gpu_answers_as_the_cpu(name: str, tmp_path: Path) -> None:
    path = mediapipe_model(name)
    network, given = TensorRTImages(path, path.read_bytes(), SHAPES[name], tmp_path), images(name, 5)
    for found, expected in zip(
        network(given), load_image_network(path, SHAPES[name], "onnxruntime")(given), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=0.05)
    network.close()
