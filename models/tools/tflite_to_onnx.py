"""Writes the ONNX graph of a MediaPipe model from its TensorFlow Lite graph: NHWC becomes NCHW, the batch is free.

The input is an image of bytes, (batch, height, width, 3) RGB, which the graph brings into the model's own range.
Weights are stored in float16, as in the original, and widened to float32 by a Cast that every runtime folds when it
loads the file; all calculation is in float32. Their names count the operators of a kind in order of execution:
`conv_00.weight` (out, in / groups, height, width), `conv_00.bias`, `prelu_00.slope`; heads are named after their
output.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.tools.tflite import LiteGraph, Operator

OPSET = 17
_NO_ACTIVATION, _RELU6 = 0, 3
_SAME = 0


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """How an output is named, and the shape of one batch entry."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """What the ONNX file calls the input, a square image of `side` pixels, its free axis, and its outputs in order.

    Bytes from 0 to 255 become numbers from `least` to 1. An output that is None, and what leads to it alone, is left
    out.
    """

    name: str
    input: str
    side: int
    batch: str
    outputs: tuple[OutputSpec | None, ...]
    least: int = 0


def to_onnx(graph: LiteGraph, spec: ModelSpec) -> onnx.ModelProto:
    """Raises KeyError for an operator that none of the models has, ValueError where the graph is not one."""
    outputs = [index for index, each in zip(graph.outputs, spec.outputs, strict=True) if each is not None]
    graph = replace(graph, outputs=tuple(outputs), operators=_leading_to(outputs, graph.operators))
    writer = _Writer(graph, spec)
    for operator in graph.operators:
        writer.add(operator)
    return writer.finish()


def kept(spec: ModelSpec) -> tuple[OutputSpec, ...]:
    """The outputs that are not left out."""
    return tuple(each for each in spec.outputs if each is not None)


def _leading_to(outputs: list[int], operators: list[Operator]) -> list[Operator]:
    needed, chosen = set(outputs), []
    for operator in reversed(operators):
        if needed.intersection(operator.outputs):
            needed.update(operator.inputs)
            chosen.append(operator)
    return chosen[::-1]


class _Writer:
    """Writes nodes in order. Tensors with four axes are NCHW, the others as in the original."""

    def __init__(self, graph: LiteGraph, spec: ModelSpec) -> None:
        self._graph, self._spec = graph, spec
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._counts: dict[str, int] = {}
        self._outputs = kept(spec)
        self._heads = dict(zip(graph.outputs, (each.name for each in self._outputs), strict=True))
        self._kinds: dict[str, Callable[[Operator], str]] = {
            "CONV_2D": self._convolution,
            "DEPTHWISE_CONV_2D": self._depthwise,
            "PRELU": self._prelu,
            "ADD": lambda op: self._node("Add", *self._activations(op)),
            "MAX_POOL_2D": self._pool,
            "PAD": self._pad,
            "RESIZE_BILINEAR": self._resize,
            "RESHAPE": self._reshape,
            "CONCATENATION": lambda op: self._node("Concat", *self._activations(op), axis=op.options["axis"]),
            "MEAN": self._mean,
            "FULLY_CONNECTED": self._head,
            "LOGISTIC": lambda op: self._node("Sigmoid", *self._activations(op)),
            # TensorFlow counts a block's pixels before the channels of each.
            "DEPTH_TO_SPACE": lambda op: self._node(
                "DepthToSpace", *self._activations(op), blocksize=op.options["blockSize"], mode="DCR"
            ),
        }
        if graph.shapes[graph.inputs[0]] != (1, spec.side, spec.side, 3):
            raise ValueError(f"an input of {graph.shapes[graph.inputs[0]]}")
        floats = self._node("Cast", spec.input, to=TensorProto.FLOAT)
        planes = self._node("Transpose", floats, perm=[0, 3, 1, 2])
        image = self._node("Mul", planes, self._constant("per_byte", np.float32((1 - spec.least) / 255)))
        if spec.least:
            image = self._node("Add", image, self._constant("least", np.float32(spec.least)))
        self._names = {graph.inputs[0]: image}

    def add(self, operator: Operator) -> None:
        name = self._kinds[operator.name](operator)
        activation = operator.options.get("fusedActivationFunction", _NO_ACTIVATION)
        if activation not in (_NO_ACTIVATION, _RELU6):
            raise ValueError(f"the activation {activation} of a {operator.name}")
        if activation == _RELU6:
            limits = self._constant("zero", np.float32(0)), self._constant("six", np.float32(6))
            name = self._node("Clip", name, *limits)
        self._names[operator.outputs[0]] = name

    def finish(self) -> onnx.ModelProto:
        spec = self._spec
        outputs = []
        for index, output in zip(self._graph.outputs, self._outputs, strict=True):
            shape = self._constant(f"{output.name}.shape", np.array((-1, *output.shape), np.int64))
            self._nodes.append(helper.make_node("Reshape", [self._names[index], shape], [output.name], output.name))
            outputs.append(helper.make_tensor_value_info(output.name, TensorProto.FLOAT, [spec.batch, *output.shape]))
        image = helper.make_tensor_value_info(spec.input, TensorProto.UINT8, [spec.batch, spec.side, spec.side, 3])
        graph = helper.make_graph(self._nodes, spec.name, [image], outputs, list(self._initializers.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model

    def _convolution(self, op: Operator) -> str:
        return self._convolve(op, np.moveaxis(self._graph.constants[op.inputs[1]], -1, 1), 1)

    def _depthwise(self, op: Operator) -> str:
        weight = self._graph.constants[op.inputs[1]]
        if op.options["depthMultiplier"] != 1:
            raise ValueError("a depthwise convolution that makes more channels")
        return self._convolve(op, np.moveaxis(weight, -1, 0), weight.shape[-1])

    def _convolve(self, op: Operator, weight: np.ndarray, groups: int) -> str:
        name = self._count("conv")
        if op.options["dilationHFactor"] != 1:
            raise ValueError("a dilated convolution")
        stride, kernel = op.options["strideH"], weight.shape[2:]
        sizes = zip(self._graph.shapes[op.inputs[0]][1:3], self._graph.shapes[op.outputs[0]][1:3], kernel, strict=True)
        missing = [max((out - 1) * stride + side - size, 0) for size, out, side in sizes]
        if op.options["padding"] != _SAME and any(missing):
            raise ValueError("a convolution whose padding is not SAME")
        # TensorFlow's SAME: what does not divide by two goes after.
        pads = [each // 2 for each in missing] + [each - each // 2 for each in missing]
        given = self._names[op.inputs[0]], self._weight(f"{name}.weight", weight)
        bias = self._weight(f"{name}.bias", self._graph.constants[op.inputs[2]])
        return self._node("Conv", *given, bias, strides=[stride, stride], pads=pads, group=groups, kernel_shape=kernel)

    def _prelu(self, op: Operator) -> str:
        slope = self._graph.constants[op.inputs[1]].reshape(-1, 1, 1)
        return self._node("PRelu", self._names[op.inputs[0]], self._weight(f"{self._count('prelu')}.slope", slope))

    def _pool(self, op: Operator) -> str:
        side, stride = [op.options["filterHeight"], op.options["filterWidth"]], [op.options["strideH"]] * 2
        return self._node("MaxPool", self._names[op.inputs[0]], kernel_shape=side, strides=stride)

    def _pad(self, op: Operator) -> str:
        before, after = self._graph.constants[op.inputs[1]][[0, 3, 1, 2]].T
        pads = self._constant(self._count("pad"), np.concatenate([before, after]).astype(np.int64))
        return self._node("Pad", self._names[op.inputs[0]], pads)

    def _resize(self, op: Operator) -> str:
        if op.options["alignCorners"] or not op.options["halfPixelCenters"]:
            raise ValueError("a resize with other pixel centres")
        before, after = (self._graph.shapes[index][1:3] for index in (op.inputs[0], op.outputs[0]))
        scales = np.array([1, 1, *(np.array(after) / before)], np.float32)
        name = self._constant(self._count("resize"), scales)
        settings = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        return self._node("Resize", self._names[op.inputs[0]], "", name, **settings)

    def _reshape(self, op: Operator) -> str:
        """From the channels last, as the original counts them."""
        last = self._node("Transpose", self._names[op.inputs[0]], perm=[0, 2, 3, 1])
        shape = np.array((-1, *self._graph.shapes[op.outputs[0]][1:]), np.int64)
        return self._node("Reshape", last, self._constant(self._count("reshape"), shape))

    def _mean(self, op: Operator) -> str:
        if tuple(self._graph.constants[op.inputs[1]]) != (1, 2):
            raise ValueError("a mean over other axes than height and width")
        return self._node("Flatten", self._node("GlobalAveragePool", self._names[op.inputs[0]]), axis=1)

    def _head(self, op: Operator) -> str:
        name = self._heads.get(op.outputs[0]) or self._head_behind(op.outputs[0])
        weight = self._weight(f"{name}.weight", self._graph.constants[op.inputs[1]])
        bias = self._weight(f"{name}.bias", self._graph.constants[op.inputs[2]])
        return self._node("Gemm", self._names[op.inputs[0]], weight, bias, transB=1)

    def _head_behind(self, tensor: int) -> str:
        (output,) = (op.outputs[0] for op in self._graph.operators if tensor in op.inputs)
        return self._heads[output]

    def _activations(self, op: Operator) -> list[str]:
        return [self._names[index] for index in op.inputs]

    def _weight(self, name: str, value: np.ndarray) -> str:
        name = self._constant(name, np.ascontiguousarray(value))
        return self._node("Cast", name, to=TensorProto.FLOAT) if value.dtype == np.float16 else name

    def _constant(self, name: str, value: np.ndarray | np.floating) -> str:
        self._initializers.setdefault(name, numpy_helper.from_array(np.asarray(value), name))
        return name

    def _count(self, kind: str) -> str:
        number = self._counts.get(kind, 0)
        self._counts[kind] = number + 1
        return f"{kind}_{number:02d}"

    def _node(self, kind: str, *given: str, **settings: Any) -> str:
        name = self._count(kind.lower() + "_node")
        self._nodes.append(helper.make_node(kind, given, [name], name, **settings))
        return name
