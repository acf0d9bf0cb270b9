"""What an engine of an image network needs is named with the extra that brings it."""

import re
import tomllib
from pathlib import Path

import pytest

from calibration.errors import UserError
from deploy import image_engines
from deploy.image_engines import load_image_network
from models.weights import mediapipe_model

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


@pytest.mark.parametrize(
    ("engine", "module", "package"),
    [
        ("tensorrt", "onnx", "onnx"),
        ("tensorrt", "cuda", "cuda-python"),
        ("onnxruntime", "onnxruntime", "onnxruntime"),
        ("openvino", "openvino", "openvino"),
    ],
)
def test_a_missing_package_is_in_the_extra_that_is_to_be_installed(
    engine: str, module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise ModuleNotFoundError(name=module)

    monkeypatch.setattr(image_engines, "_make", missing)
    with pytest.raises(UserError, match=f"needs the package `{module}`") as refused:
        load_image_network(mediapipe_model("palm_detection"), (192, 192, 3), engine)
    named = re.search(r"usthand-live\[([\w-]+)\]", str(refused.value))
    extras = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert named and any(each.startswith(f"{package}==") for each in extras[named[1]])
