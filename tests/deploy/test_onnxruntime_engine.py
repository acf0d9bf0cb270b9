"""ONNX Runtime's package for CUDA, on machines where CUDA does not start."""

import numpy as np
import pytest

from calibration.errors import UserError
from deploy.engines import devices
from models.weights import mediapipe_model

onnxruntime = pytest.importorskip("onnxruntime")
SHAPE = (192, 192, 3)


@pytest.fixture
def package_for_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)


@pytest.mark.usefixtures("package_for_cuda")
def test_without_a_gpu_it_runs_on_the_cpu_and_is_the_last_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    from deploy.image_engines import engines_here, load_image_network

    monkeypatch.setattr(devices, "has_gpu_device", lambda: False)
    assert not devices.has_cuda() and list(engines_here())[-1] == "onnxruntime"
    network = load_image_network(mediapipe_model("palm_detection"), SHAPE, "onnxruntime")
    assert network.name.endswith("on the CPU")
    assert len(network([np.zeros(SHAPE, np.uint8)])) == 2


@pytest.mark.usefixtures("package_for_cuda")
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_where_cuda_does_not_start_another_engine_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU without CUDA's libraries or a driver that is too old: ONNX Runtime itself says it, and takes the CPU."""
    from deploy.image_engines import load_image_network

    pytest.importorskip("openvino")
    if onnxruntime.get_device() != "CPU":
        pytest.skip("its CUDA may start here")
    monkeypatch.setattr(devices, "has_gpu_device", lambda: True)
    with pytest.raises(UserError, match="cannot start CUDA"):
        load_image_network(mediapipe_model("palm_detection"), SHAPE, "onnxruntime")
    assert load_image_network(mediapipe_model("palm_detection"), SHAPE).name.startswith("OpenVINO")
