"""A mixed half precision ONNX graph from a float32 one, with its types in the graph: what a strongly typed engine runs.

The rule is the one under which the network was trained (torch's autocast, but for bfloat16). Convolutions and products
with learned weights are calculated in float16; products of two results, as in attention, where one of them is float16
already. What moves or adds numbers, or comes right after a layer, keeps float16 if all its inputs have it. Everything
else is float32: the conditioned cameras, triangulation, projections, distances and neighbours, origins, softmax and the
positions that are read from it, norms, covariances. So are the modules of FLOAT32_MODULES, inputs and outputs.
"""

import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT32_MODULES = ("stage1.flow", "stage1.view_weight")
"""The density of poses and the weights of the triangulation."""
_PRODUCTS = frozenset({"Conv", "Gemm", "MatMul"})
_MOVING = frozenset({"Concat", "Expand", "Gather", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"})
_KEEPING = _MOVING | {"Add", "Gelu", "MaxPool", "Relu", "Resize"}
_SCOPES = "pkg.torch.onnx.name_scopes"


def half_precision(content: bytes) -> bytes:
    """The content of an ONNX file in float32 as one in mixed precision, with the same inputs and outputs.

    A uint8 input is cast to float32 at once, since TensorRT calculates nothing with bytes.
    """
    model = onnx.load_from_string(content)
    graph = model.graph
    writer = _Writer(graph)
    nodes = list(graph.node)
    del graph.node[:]
    for value in graph.input:
        if value.type.tensor_type.elem_type == TensorProto.UINT8:
            writer.cast_input(value.name)
    for node in nodes:
        writer.add(node)
    for value in graph.output:
        writer.end_in_float32(value.name)
    del graph.value_info[:]  # they name the types from before
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def module_of(node: onnx.NodeProto) -> str:
    """The module of the network that a node was exported from, as `stage1.backbone.layer1.0`; "" where unknown."""
    scopes = next((each.value for each in node.metadata_props if each.key == _SCOPES), "")
    names = [name.strip("' ") for name in scopes.strip("[]").split(",")]
    return next((name for name in reversed(names[:-1]) if name), "")


class _Writer:
    """Writes the nodes of a graph again, in order, and knows which results are float16."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        self._floats = {value.name for value in graph.value_info if _is_float(value)} | {
            name for name, tensor in self._weights.items() if tensor.data_type == TensorProto.FLOAT
        }
        self._floats |= {value.name for value in (*graph.input, *graph.output) if _is_float(value)}
        self._constants = set(self._weights)
        self._half: set[str] = set()
        self._casts: dict[tuple[str, int], str] = {}
        self._renamed: dict[str, str] = {}

    def cast_input(self, name: str) -> None:
        self._renamed[name] = self._cast(name, TensorProto.FLOAT)
        self._floats.add(self._renamed[name])

    def add(self, node: onnx.NodeProto) -> None:
        names = [self._renamed.get(name, name) for name in node.input]
        # The scales of a Resize are float32 in any case.
        settings = names[1:] if node.op_type == "Resize" else []
        data = [name for name in names if name in self._floats and name not in settings]
        half = bool(data) and self._is_half(node, data)
        del node.input[:]
        node.input.extend(name if name in settings else self._as_type(name, half) for name in names)
        self._graph.node.append(node)
        if half:
            self._half.update(name for name in node.output if name in self._floats)
        if all(name in self._constants for name in node.input if name):
            self._constants.update(node.output)  # as the transposed weights of a linear layer

    def end_in_float32(self, name: str) -> None:
        """Let an output that is float16 go through a cast, under its name."""
        if name not in self._half:
            return
        for node in self._graph.node:
            for names in (node.input, node.output):
                for index, each in enumerate(names):
                    if each == name:
                        names[index] = f"{name}_float16"
        self._graph.node.append(helper.make_node("Cast", [f"{name}_float16"], [name], to=TensorProto.FLOAT))

    def _is_half(self, node: onnx.NodeProto, data: list[str]) -> bool:
        module = module_of(node)
        if any(module == each or module.startswith(f"{each}.") for each in FLOAT32_MODULES):
            return False
        results = [name for name in data if name not in self._constants]
        if node.op_type in _PRODUCTS:
            weighed = len(results) < len(data)
            return bool(results) and (weighed or any(name in self._half for name in results))
        return node.op_type in _KEEPING and bool(results) and all(name in self._half for name in results)

    def _as_type(self, name: str, half: bool) -> str:
        if name not in self._floats or half == (name in self._half):
            return name
        if half and name in self._weights:
            return self._half_weight(name)
        return self._cast(name, TensorProto.FLOAT16 if half else TensorProto.FLOAT)

    def _half_weight(self, name: str) -> str:
        new = f"{name}_float16"
        if new not in self._weights:
            values = numpy_helper.to_array(self._weights[name]).astype("float16")
            self._weights[new] = numpy_helper.from_array(values, new)
            self._graph.initializer.append(self._weights[new])
            self._constants.add(new)
        return new

    def _cast(self, name: str, to: int) -> str:
        key = (name, to)
        if key not in self._casts:
            self._casts[key] = f"{name}_{'float16' if to == TensorProto.FLOAT16 else 'float32'}"
            self._graph.node.append(helper.make_node("Cast", [name], [self._casts[key]], to=to))
        return self._casts[key]


def _is_float(value: onnx.ValueInfoProto) -> bool:
    return value.type.tensor_type.elem_type == TensorProto.FLOAT
