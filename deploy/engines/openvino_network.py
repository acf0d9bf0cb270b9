"""A network of hands in OpenVINO on the CPU: hands side by side, in one precision or convolutions in a lower one."""

import os
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import openvino
from openvino import opset13
from openvino.passes import ConstantFolding, Manager

from deploy.engines.exported import Shapes
from deploy.engines.openvino_core import openvino_core

Precision = Literal["f32", "bf16", "bf16 convolutions"]
"""Of all that is calculated, or: bfloat16 of convolutions but the first few and of what lies between them, float32 of
the rest; of a network without convolutions bfloat16 of its products with weights."""

_CONVOLUTIONS = ("Convolution", "GroupConvolution")
_AFTER_CONVOLUTIONS = ("Add", "Clamp")
"""A bias and relu6, which are calculated with the convolution before them."""
_EXACT_CONVOLUTIONS = 3
"""The first, in float32. A filter of the landmark network's second has weights that are large and cancel: their
rounding alone moved keypoints by 0.39 pixels in the median, that of all others by 0.13; it takes a hundredth of the
time."""


class OpenvinoNetwork:
    """Its inputs and outputs begin with the axis of hands; the other sizes are compiled for, once each.

    One hand takes all cores. Of several each has its share of them and runs by itself: where other programs are at
    work, too, a batch waits after each layer for the core that comes last.
    """

    def __init__(self, onnx: bytes, precision: Precision = "f32") -> None:
        self._model = openvino_core().read_model(onnx)
        self._precision, self._cores = precision, os.cpu_count() or 1
        self._requests: dict[tuple, list[_Requests]] = {}

    def prepare(self, shapes: Shapes) -> None:
        """Compile for these shapes, by name. Raises RuntimeError where the network does not take them."""
        self._of(next(iter(shapes.values()))[0], {name: shape[1:] for name, shape in shapes.items()})

    def __call__(self, given: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        hands = len(next(iter(given.values())))
        requests = self._of(hands, {name: array.shape[1:] for name, array in given.items()})
        found: list[list[np.ndarray]] = []
        for first in range(0, hands, len(requests)):
            at_work = list(zip(range(first, hands), requests, strict=False))
            for hand, request in at_work:
                request.start({name: array[hand : hand + 1] for name, array in given.items()})
            for stage in range(1, len(requests[0].stages)):
                for _, request in at_work:
                    request.go_on(stage)
            found += [request.wait() for _, request in at_work]
            if first + len(requests) < hands:
                found = [[np.array(array) for array in arrays] for arrays in found]  # before they are used again
        return found[0] if hands == 1 else [np.concatenate(arrays) for arrays in zip(*found, strict=True)]

    def _of(self, hands: int, shapes: Mapping[str, tuple[int, ...]]) -> "list[_Requests]":
        at_once = max(min(hands, self._cores), 1)
        key = (at_once, *shapes.values())
        if key not in self._requests:
            self._requests[key] = self._compile(at_once, shapes)
        return self._requests[key]

    def _compile(self, at_once: int, shapes: Mapping[str, tuple[int, ...]]) -> "list[_Requests]":
        model = self._model.clone()
        read = {name for port in model.inputs for name in port.get_names()}  # OpenVINO drops what nothing reads
        model.reshape({name: [1, *shape] for name, shape in shapes.items() if name in read})
        stages = [NetworkPart(model, "f32" if self._precision == "f32" else "bf16")]
        if self._precision == "bf16 convolutions":
            stages = split_at_convolutions(model)
        settings = {
            "PERFORMANCE_HINT": "LATENCY" if at_once == 1 else "THROUGHPUT",
            "NUM_STREAMS": at_once,
            "INFERENCE_NUM_THREADS": self._cores,
        }
        # Said for f32, too: with AMX, OpenVINO's own choice is bfloat16.
        compiled = [
            openvino_core().compile_model(each.model, "CPU", {**settings, "INFERENCE_PRECISION_HINT": each.precision})
            for each in stages
        ]
        return [_Requests(compiled) for _ in range(at_once)]


class _Requests:
    """One hand's way through the stages of a network, which read what the stages before wrote."""

    def __init__(self, stages: Sequence[openvino.CompiledModel]) -> None:
        self.stages = [each.create_infer_request() for each in stages]
        self._inputs = [[port.get_any_name() for port in each.inputs] for each in stages]
        self._given: Mapping[str, np.ndarray] = {}
        written: dict[str, openvino.Tensor] = {}
        for request, names, compiled in zip(self.stages, self._inputs, stages, strict=True):
            for name in names:
                if name in written:
                    request.set_tensor(name, written[name])
            for port in compiled.outputs:
                written |= {name: request.get_tensor(port) for name in port.get_names()}

    def start(self, given: Mapping[str, np.ndarray]) -> None:
        self._given = given
        self._start(0)

    def go_on(self, stage: int) -> None:
        self.stages[stage - 1].wait()
        self._start(stage)

    def wait(self) -> list[np.ndarray]:
        """The outputs, which change with the next start."""
        self.stages[-1].wait()
        return [tensor.data for tensor in self.stages[-1].output_tensors]

    def _start(self, stage: int) -> None:
        given = {name: self._given[name] for name in self._inputs[stage] if name in self._given}
        self.stages[stage].start_async(given, share_inputs=True)


class NetworkPart(NamedTuple):
    """A part of a network; it reads inputs of the network and what stages before it wrote, by name."""

    model: openvino.Model
    precision: Literal["f32", "bf16"]


def split_at_convolutions(model: openvino.Model) -> list[NetworkPart]:
    """The first convolutions, the others, and what comes after them.

    Where there is none it is one stage, in float32 but for its products with weights: those move the joints that the
    transformer gives by 0.005 mm in the median, and its coordinates stay exact.
    """
    folding = Manager()
    folding.register_pass(ConstantFolding())  # else sizes of feature maps are asked of the maps themselves
    folding.run_passes(model)
    found = [node for node in model.get_ordered_ops() if node.get_type_name() in _CONVOLUTIONS]
    if len(found) <= _EXACT_CONVOLUTIONS:
        _lower_products(model)
        return [NetworkPart(model, "f32")]
    first, rest = _split(model, _EXACT_CONVOLUTIONS, "first_")
    others, rest = _split(rest, len(found), "features_")
    return [NetworkPart(first, "f32"), NetworkPart(others, "bf16"), NetworkPart(rest, "f32")]


def _lower_products(model: openvino.Model) -> None:
    """Calculate matrix products with constants in bfloat16."""
    for node in model.get_ordered_ops():
        if node.get_type_name() != "MatMul" or node.input_value(1).get_node().get_type_name() != "Constant":
            continue
        readers = node.output(0).get_target_inputs()
        for each in node.inputs():
            each.replace_source_output(opset13.convert(each.get_source_output(), "bf16").output(0))
        exact = opset13.convert(node, "f32")
        for reader in readers:
            reader.replace_source_output(exact.output(0))
    model.validate_nodes_and_infer_types()


def _split(model: openvino.Model, convolutions: int, prefix: str) -> tuple[openvino.Model, openvino.Model]:
    """What the first so many convolutions make, and the rest, which has an input for each of its outputs."""
    rest = model.clone()
    results, added = [], []
    for number, output in enumerate(_made_by(model, convolutions)):
        output.add_names({f"{prefix}{number}"})
        results.append(opset13.result(output))
    for number, output in enumerate(_made_by(rest, convolutions)):
        name = f"{prefix}{number}"
        parameter = opset13.parameter(output.get_partial_shape(), output.get_element_type(), name)
        parameter.output(0).set_names({name})
        for reader in output.get_target_inputs():
            reader.replace_source_output(parameter.output(0))
        added.append(parameter)
    before = openvino.Model(results, model.get_parameters())  # type: ignore[reportGeneralTypeIssues]
    parameters = [*rest.get_parameters(), *added]
    return before, openvino.Model(rest.get_results(), parameters)  # type: ignore[reportGeneralTypeIssues]


def _made_by(model: openvino.Model, convolutions: int) -> list[openvino.Output]:
    """Feature maps that the first so many convolutions make and something else reads."""
    nodes = model.get_ordered_ops()
    of_kind = [node.get_friendly_name() for node in nodes if node.get_type_name() in _CONVOLUTIONS]
    made, needed = set(of_kind[:convolutions]), set(of_kind[:convolutions])
    for node in reversed(nodes):
        if node.get_friendly_name() in needed:
            needed.update(each.get_source_output().get_node().get_friendly_name() for each in node.inputs())
    known = needed | {node.get_friendly_name() for node in nodes if node.get_type_name() == "Constant"}
    for node in nodes:
        name = node.get_friendly_name()
        sources = {each.get_source_output().get_node().get_friendly_name() for each in node.inputs()}
        after = node.get_type_name() in _AFTER_CONVOLUTIONS and sources <= made | known
        if sources & made and (name in needed or after):
            made.add(name)
    maps = [node.output(0) for node in nodes if node.get_friendly_name() in made]
    return [
        output
        for output in maps
        if any(reader.get_node().get_friendly_name() not in made for reader in output.get_target_inputs())
    ]
