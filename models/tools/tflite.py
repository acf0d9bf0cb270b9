"""Reads a TensorFlow Lite file into operators and constants. Needs the package ai-edge-litert, for its schema."""

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np

_DTYPES = {0: np.float32, 1: np.float16, 2: np.int32}


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One operator: its builtin `name`, the tensors that it reads and writes, and its options by name."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class LiteGraph:
    """`operators` in order of execution, `shapes` of all tensors, `constants` of those that have a value in the file.

    Constants stored in float16 stay so, and sparse ones are filled up: the operators DEQUANTIZE, which would widen
    them, and DENSIFY are taken out.
    """

    operators: list[Operator]
    shapes: list[tuple[int, ...]]
    constants: dict[int, np.ndarray]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_tflite(content: bytes) -> LiteGraph:
    """Raises ValueError for a file of several graphs or with constants of a type that none of the models has."""
    schema: Any = importlib.import_module("ai_edge_litert.schema_py_generated")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    if len(model.subgraphs) != 1:
        raise ValueError(f"{len(model.subgraphs)} graphs, expected 1")
    graph = model.subgraphs[0]
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    shapes = [tuple(int(size) for size in tensor.shape) for tensor in graph.tensors]
    constants = {}
    for index, tensor in enumerate(graph.tensors):
        data = model.buffers[tensor.buffer].data
        if data is None or not len(data):
            continue
        if tensor.type not in _DTYPES:
            raise ValueError(f"tensor {index} has the type {tensor.type}")
        values = np.frombuffer(bytes(data), _DTYPES[tensor.type])
        constants[index] = values.reshape(shapes[index]) if tensor.sparsity is None else _dense(values, tensor)
    operators = []
    for each in graph.operators:
        name = names[model.operatorCodes[each.opcodeIndex].builtinCode]
        inputs, outputs = tuple(map(int, each.inputs)), tuple(map(int, each.outputs))
        if name in ("DEQUANTIZE", "DENSIFY"):
            constants[outputs[0]] = constants[inputs[0]]
            continue
        options = vars(each.builtinOptions) if each.builtinOptions else {}
        operators.append(Operator(name=name, inputs=inputs, outputs=outputs, options=options))
    return LiteGraph(
        operators=operators,
        shapes=shapes,
        constants=constants,
        inputs=tuple(map(int, graph.inputs)),
        outputs=tuple(map(int, graph.outputs)),
    )


def _dense(values: np.ndarray, tensor: Any) -> np.ndarray:
    """A constant whose last axis alone is sparse, in compressed rows. Raises ValueError for another layout."""
    shape, dimensions = tuple(map(int, tensor.shape)), tensor.sparsity.dimMetadata
    order = list(range(len(shape)))
    if list(tensor.sparsity.traversalOrder) != order or [each.format for each in dimensions] != [*[0] * order[-1], 1]:
        raise ValueError(f"a sparse tensor of another layout, {shape}")
    begins, columns = (np.asarray(of.values) for of in (dimensions[-1].arraySegments, dimensions[-1].arrayIndices))
    dense = np.zeros((int(np.prod(shape[:-1])), shape[-1]), values.dtype)
    dense[np.repeat(np.arange(len(dense)), np.diff(begins.astype(int))), columns] = values
    return dense.reshape(shape)
