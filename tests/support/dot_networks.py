"""Small networks that find 21 painted dots, one for each way in which keypoints come out: heatmaps, SimCC, coordinates.

Dot j has the brightness `LEVELS[j]` in the first channel. Each heatmap says how near a place's brightness is to it.
"""

from pathlib import Path

import cv2
import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

SIDE = 128
LEVELS = 45 + 10 * np.arange(21)
RADIUS_PX = 5


def painted(keypoints_px: np.ndarray, width: int, height: int) -> np.ndarray:
    """An image with a dot at each keypoint (21, 2)."""
    image = np.zeros((height, width, 3), np.uint8)
    for level, place in zip(LEVELS.tolist(), np.rint(keypoints_px).astype(int).tolist(), strict=True):
        cv2.circle(image, place, RADIUS_PX, (level, level, level), cv2.FILLED)
    return image


def write_network(path: Path, kind: str, nan: bool = False, **settings: object) -> Path:
    """A network of that kind, and its YAML file. `settings` are added to the YAML's top level."""
    constants = {
        "levels": LEVELS.reshape(1, 21, 1, 1).astype(np.float32),
        "width": np.float32(4.0 if not nan else 0.0),
        "one": np.float32(1),
        "zero": np.array(0, np.int64),
        "gain": np.float32(5),
        "power": np.float32(12),
        "little": np.float32(1e-12),
        "row": np.array([2], np.int64),
        "column": np.array([3], np.int64),
        "both": np.array([2, 3], np.int64),
        "x": np.arange(SIDE, dtype=np.float32).reshape(1, 1, 1, SIDE),
        "y": np.arange(SIDE, dtype=np.float32).reshape(1, 1, SIDE, 1),
        "first": np.array([0], np.int64),
        "second": np.array([1], np.int64),
        "channels": np.array([1], np.int64),
        "last": np.array([-1], np.int64),
    }
    node = helper.make_node
    nodes = [
        node("Slice", ["image", "first", "second", "channels"], ["grey"]),
        node("Sub", ["grey", "levels"], ["off"]),
        node("Abs", ["off"], ["far"]),
        node("Div", ["far", "width"], ["share"]),
        node("Sub", ["one", "share"], ["near"]),
        node("Relu", ["near"], ["hit"]),
        # Twice, so that there is one peak and no plateau.
        *(
            node("AveragePool", [given], [found], kernel_shape=[7, 7], pads=[3, 3, 3, 3], count_include_pad=1)
            for given, found in (("hit", "smooth"), ("smooth", "faint"))
        ),
        node("Mul", ["faint", "gain"], ["heat"]),
    ]
    if nan:
        nodes[5] = node("Log", ["near"], ["hit"])
    if kind == "heatmaps":
        outputs = {"heat": (21, SIDE, SIDE)}
    elif kind == "simcc":
        nodes += [
            node("ReduceMax", ["heat"], ["simcc_x"], axes=[2], keepdims=0),
            node("ReduceMax", ["heat"], ["simcc_y"], axes=[3], keepdims=0),
        ]
        outputs = {"simcc_x": (21, SIDE), "simcc_y": (21, SIDE)}
    else:
        nodes += [
            node("Pow", ["heat", "power"], ["weight"]),
            node("ReduceSum", ["weight", "both"], ["weights"], keepdims=1),
            node("Add", ["weights", "little"], ["sum"]),
            *(
                each
                for axis in "xy"
                for each in (
                    node("Mul", ["weight", axis], [f"weighted_{axis}"]),
                    node("ReduceSum", [f"weighted_{axis}", "both"], [f"sum_{axis}"], keepdims=1),
                    node("Div", [f"sum_{axis}", "sum"], [f"mean_{axis}"]),
                )
            ),
            node("Concat", ["mean_x", "mean_y"], ["joined"], axis=3),
            node("Squeeze", ["joined", "row"], ["points"]),
        ]
        outputs = {"points": (21, 2)}
    used = {name for each in nodes for name in each.input}
    graph = helper.make_graph(
        nodes,
        "dots",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape]) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items() if name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    described: dict = {
        "input": {"width": SIDE, "height": SIDE, "std": [1.0, 1.0, 1.0]},
        "output": {"kind": kind} | ({"split": 1.0} if kind == "simcc" else {}),
    }
    path.with_suffix(".yaml").write_text(yaml.safe_dump(described | settings))
    return path
