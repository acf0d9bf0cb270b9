"""`python -m models.tools.landmark_weights [TFLITE] OUT`: MediaPipe's hand landmark network as safetensors.

Needs OpenVINO, which reads `.tflite` files; without TFLITE the file inside the installed mediapipe is taken. The
original's weights are of half precision, so a float16 file loses nothing.
"""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import openvino
import torch
from safetensors.torch import save_file
from torch import Tensor

from calibration.errors import UserError
from models.network.landmark_net import LandmarkNet

_INSIDE = "modules/hand_landmark/hand_landmark_full.tflite"
_HEADS = {"161": "image", "157": "presence", "153": "right", "164": "world"}
"""The heads by the names of their sums in the graph."""


def read_tflite(path: Path) -> dict[str, Tensor]:
    """The weights of the file, float32, by LandmarkNet's names. Raises UserError where it holds another network."""
    model = openvino.Core().read_model(str(path))
    state = LandmarkNet().state_dict()
    names = [name.removesuffix(".weight") for name in state if name.endswith(".weight")]
    weights: list[np.ndarray] = []
    biases: list[np.ndarray] = []
    heads: dict[str, np.ndarray] = {}
    for node in model.get_ordered_ops():
        kind, name = node.get_type_name(), node.get_friendly_name()
        if kind in ("Convolution", "GroupConvolution"):
            weights.append(_constant(node.input_value(1)))
        elif kind == "MatMul":
            target = _HEADS[next(iter(node.output(0).get_target_inputs())).get_node().get_friendly_name()]
            heads[f"{target}.weight"] = _constant(node.input_value(1))
        elif kind == "Add" and name in _HEADS:
            heads[f"{_HEADS[name]}.bias"] = _constant(node.input_value(1)).reshape(-1)
        elif kind == "Add" and "Convolution" in node.input_value(0).get_node().get_type_name():
            biases.append(_constant(node.input_value(1)).reshape(-1))
    found = dict(heads)
    convolutions = [name for name in names if f"{name}.weight" not in heads]
    if (len(weights), len(biases)) != (len(convolutions), len(convolutions)):
        raise UserError(f"{path}: {len(weights)} convolutions, expected {len(convolutions)}: another network.")
    for name, weight, bias in zip(convolutions, weights, biases, strict=True):
        found[f"{name}.weight"], found[f"{name}.bias"] = weight, bias
    return {name: torch.from_numpy(found[name].reshape(tensor.shape).copy()) for name, tensor in state.items()}


def _constant(output: openvino.Output) -> np.ndarray:
    """The value of a constant, behind whatever only converts, turns or reshapes it."""
    model = openvino.Model([openvino.opset8.result(output)], [])  # pyright: ignore
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.asarray(compiled([])[0], dtype=np.float32)


def main() -> int:
    if len(sys.argv) not in (2, 3):
        sys.stderr.write("usage: python -m models.tools.landmark_weights [TFLITE] OUT\n")
        return 2
    if len(sys.argv) == 3:
        source = Path(sys.argv[1])
    else:
        spec = importlib.util.find_spec("mediapipe")
        if spec is None or spec.origin is None:
            sys.stderr.write("usthand: mediapipe is not installed; name the .tflite file.\n")
            return 2
        source = Path(spec.origin).parent / _INSIDE
    save_file({name: value.half() for name, value in read_tflite(source).items()}, sys.argv[-1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
