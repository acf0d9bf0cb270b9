"""`python -m models.tools.landmark_weights OUT`: the packaged hand landmark network as safetensors, in half precision.

The original's weights are of half precision, so that nothing is lost. A training of the recipe `live` from the
beginning takes them as its `backbone_weights`; a checkpoint of that recipe holds them, too.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from models.network.landmark_net import LandmarkNet, write_landmark_net
from models.weights import mediapipe_model

_HEADS = {"image": "landmarks", "presence": "presence", "right": "handedness", "world": "world_landmarks"}
"""The heads, by their names in the ONNX file. The convolutions are numbered in their order."""


def read_onnx(path: Path) -> dict[str, Tensor]:
    """The weights of the file, float32, by LandmarkNet's names."""
    stored = {each.name: numpy_helper.to_array(each) for each in onnx.load(str(path)).graph.initializer}
    state = LandmarkNet().state_dict()
    parts = list(dict.fromkeys(name.rpartition(".")[0] for name in state))
    sources = dict(_HEADS)
    sources |= {part: f"conv_{index:02d}" for index, part in enumerate(each for each in parts if each not in _HEADS)}
    found = {}
    for name, tensor in state.items():
        part, _, kind = name.rpartition(".")
        value = stored[f"{sources[part]}.{kind}"].astype(np.float32)
        found[name] = torch.from_numpy(value.reshape(tensor.shape))
    return found


def main() -> int:
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m models.tools.landmark_weights OUT\n")
        return 2
    state = read_onnx(mediapipe_model("hand_landmark"))
    write_landmark_net(Path(sys.argv[1]), {name: value.half() for name, value in state.items()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
