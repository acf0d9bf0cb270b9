"""How much work an ONNX network is, read from its graph: operations and bytes, for given sizes of its named axes.

Counted are the multiply-adds of convolutions and products of matrices, two operations each, as in torch's
FlopCounterMode; biases, norms, softmax and everything that is done number by number are left out.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import onnx
from onnx import helper

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Work:
    """`operations`, and bytes in the graph's own types.

    `least_bytes`: the weights, inputs and outputs of the network, once each; what any implementation moves.
    `counted_bytes`: what the counted operations read and write, one by one, as if nothing stayed in a cache.
    """

    operations: int
    weight_bytes: int
    least_bytes: int
    counted_bytes: int


def count_work(content: bytes, sizes: Mapping[str, int]) -> Work:
    """The work of an ONNX file's content, with `sizes` of its named axes, as `{"hands": 1, "views": 4}`.

    Raises ValueError where the size of a counted operation does not follow.
    """
    graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(content)).graph
    weights = {tensor.name: (tuple(tensor.dims), _item_bytes(tensor.data_type)) for tensor in graph.initializer}
    known = weights | {
        value.name: (_shape(value, sizes), _item_bytes(value.type.tensor_type.elem_type))
        for value in (*graph.input, *graph.value_info, *graph.output)
    }

    def shape(name: str) -> Shape:
        found = known[name][0] if name in known else None
        if found is None:
            raise ValueError(f"the size of `{name}` does not follow from {dict(sizes)}")
        return found

    def count_bytes(names: set[str]) -> int:
        return sum(math.prod(shape(name)) * known[name][1] for name in names)

    operations = counted_bytes = 0
    for node in graph.node:
        if node.op_type in _MULTIPLY_ADDS:
            operations += 2 * _MULTIPLY_ADDS[node.op_type](node, shape)
            counted_bytes += count_bytes({name for name in (*node.input, *node.output) if name})
    ends = {value.name for value in (*graph.input, *graph.output)}
    weight_bytes = count_bytes(set(weights))
    return Work(operations, weight_bytes, weight_bytes + count_bytes(ends - set(weights)), counted_bytes)


def _convolution(node: onnx.NodeProto, shape) -> int:
    return math.prod(shape(node.output[0])) * math.prod(shape(node.input[1])[1:])


def _transposed_convolution(node: onnx.NodeProto, shape) -> int:
    return math.prod(shape(node.input[0])) * math.prod(shape(node.input[1])[1:])


def _product(node: onnx.NodeProto, shape) -> int:
    return math.prod(shape(node.output[0])) * shape(node.input[0])[-1]


def _gemm(node: onnx.NodeProto, shape) -> int:
    transposed = _attribute(node, "transA", 0)
    return math.prod(shape(node.output[0])) * shape(node.input[0])[0 if transposed else 1]


def _einsum(node: onnx.NodeProto, shape) -> int:
    """Of an equation without an ellipsis: one multiply-add for each combination of its letters."""
    terms = _attribute(node, "equation", b"").decode().replace(" ", "").split("->")[0].split(",")
    letters = {
        letter: size
        for term, name in zip(terms, node.input, strict=True)
        for letter, size in zip(term, shape(name), strict=True)
    }
    return math.prod(letters.values()) * (len(terms) - 1)


_MULTIPLY_ADDS = {
    "Conv": _convolution,
    "ConvTranspose": _transposed_convolution,
    "MatMul": _product,
    "Gemm": _gemm,
    "Einsum": _einsum,
}


def _attribute(node: onnx.NodeProto, name: str, default):
    return next((helper.get_attribute_value(each) for each in node.attribute if each.name == name), default)


def _shape(value: onnx.ValueInfoProto, sizes: Mapping[str, int]) -> Shape | None:
    """The exporter names axes by products, as `21*hands*views`; None where one is of another kind."""
    shape = []
    for axis in value.type.tensor_type.shape.dim:
        factors = axis.dim_param.split("*") if axis.dim_param else [str(axis.dim_value)]
        numbers = [sizes.get(factor.strip(), factor.strip()) for factor in factors]
        if not axis.ByteSize() or not all(str(number).isdecimal() for number in numbers):
            return None
        shape.append(math.prod(int(number) for number in numbers))
    return tuple(shape)


def _item_bytes(data_type: int) -> int:
    return helper.tensor_dtype_to_np_dtype(data_type).itemsize if data_type else 0
