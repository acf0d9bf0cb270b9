"""OpenVINO's networks of hands: side by side as each alone, and convolutions in bfloat16 beside geometry in float32."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deploy.artefact.manifest import OPSET
from deploy.engines.openvino_core import openvino_core
from deploy.engines.openvino_network import NetworkPart, OpenvinoNetwork, split_at_convolutions

CHANNELS, PX, FILTERS = 4, 12, 5


def network() -> bytes:
    """Convolutions with relu6 and an added input between them, a map that is read twice, their mean, and `P` times a
    number that bfloat16 does not have."""
    random = np.random.default_rng(0)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(random.normal(0, 0.3, shape).astype(np.float32), name)

    nodes, constants = [helper.make_node("Cast", ["image"], ["x0"], to=TensorProto.FLOAT)], []
    constants += [
        numpy_helper.from_array(np.array(value, np.float32), name) for name, value in (("low", 0), ("high", 6))
    ]
    for index in range(FILTERS):
        constants += [weights(f"w{index}", CHANNELS, CHANNELS, 3, 3), weights(f"b{index}", CHANNELS)]
        given = [f"x{index}", f"w{index}", f"b{index}"]
        nodes.append(helper.make_node("Conv", given, [f"c{index}"], pads=[1] * 4))
        nodes.append(helper.make_node("Clip", [f"c{index}", "low", "high"], [f"r{index}"]))
        nodes.append(helper.make_node("Add", [f"r{index}", f"x{index}"], [f"x{index + 1}"]))
    constants.append(numpy_helper.from_array(np.array(1.0001, np.float32), "scale"))
    nodes += [
        helper.make_node("ReduceMax", ["x4"], ["peak"], keepdims=0),
        helper.make_node("GlobalAveragePool", [f"x{FILTERS}"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["mean"]),
        helper.make_node("Add", ["mean", "peak"], ["features"]),
        helper.make_node("Mul", ["P", "scale"], ["geometry"]),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, ["hands", CHANNELS, PX, PX]),
            helper.make_tensor_value_info("P", TensorProto.FLOAT, ["hands", 3]),
        ],
        [
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["hands", CHANNELS]),
            helper.make_tensor_value_info("geometry", TensorProto.FLOAT, ["hands", 3]),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    return model.SerializeToString()


def inputs(hands: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    image = random.integers(0, 3, (hands, CHANNELS, PX, PX), dtype=np.uint8)
    return {"image": image, "P": random.normal(size=(hands, 3)).astype(np.float32)}


@pytest.mark.parametrize("precision", ["f32", "bf16 convolutions"])
def test_hands_side_by_side_get_what_each_alone_gets(precision: str) -> None:
    """Two, and more of them than this machine has cores; prepared or not."""
    found = OpenvinoNetwork(network(), precision)  # type: ignore[arg-type]
    given = inputs(19)
    alone = [
        [array.copy() for array in found({name: array[hand : hand + 1] for name, array in given.items()})]
        for hand in range(19)
    ]
    found.prepare({name: (2, *array.shape[1:]) for name, array in given.items()})
    for hands in (2, 19):
        together = found({name: array[:hands] for name, array in given.items()})
        for number, array in enumerate(together):
            assert array == pytest.approx(np.concatenate([each[number] for each in alone[:hands]]), abs=1e-6)


@pytest.mark.parametrize("precision", ["f32", "bf16 convolutions"])
def test_an_input_that_no_operation_reads_is_left_out(precision: str) -> None:
    """As of a network that was trained without a part: of the transformer's six without temporal attention."""
    model, unread = onnx.load_from_string(network()), np.zeros((2, 7), np.float32)
    model.graph.input.append(helper.make_tensor_value_info("unread", TensorProto.FLOAT, ["hands", 7]))
    found = OpenvinoNetwork(model.SerializeToString(), precision)  # type: ignore[arg-type]
    expected, given = OpenvinoNetwork(network(), precision)(inputs(2)), inputs(2) | {"unread": unread}  # type: ignore[arg-type]
    found.prepare({name: array.shape for name, array in given.items()})
    for array, other in zip(found(given), expected, strict=True):
        assert array == pytest.approx(other, abs=1e-6)


def test_convolutions_in_bfloat16_leave_the_rest_in_float32() -> None:
    given = inputs(1)
    exact, low = (OpenvinoNetwork(network(), precision)(given) for precision in ("f32", "bf16 convolutions"))
    assert low[0] == pytest.approx(exact[0], rel=0.05)
    assert low[1] == pytest.approx(given["P"] * np.float32(1.0001), rel=1e-6)


def test_the_stages_of_a_split_network_calculate_what_it_does() -> None:
    """Each in float32; the second has all convolutions but three, and no arithmetic of its own besides."""
    model = openvino_core().read_model(network())
    given = inputs(1)
    model.reshape({name: list(array.shape) for name, array in given.items()})
    expected = [array.copy() for array in OpenvinoNetwork(network())(given)]
    stages = split_at_convolutions(model)
    assert [stage.precision for stage in stages] == ["f32", "bf16", "f32"]
    assert [count(stage, "Convolution") for stage in stages] == [3, FILTERS - 3, 0]
    assert count(stages[1], "ReduceMax") == count(stages[1], "ReduceMean") == 0
    known = dict(given)
    for stage in stages:
        compiled = openvino_core().compile_model(stage.model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        taken = {port.get_any_name(): known[port.get_any_name()] for port in compiled.inputs}
        results = compiled(taken)
        known |= {name: results[port] for port in compiled.outputs for name in port.get_names()}
    assert known["features"] == pytest.approx(expected[0], abs=1e-5)
    assert known["geometry"] == pytest.approx(expected[1], abs=1e-6)


def count(stage: NetworkPart, kind: str) -> int:
    return sum(node.get_type_name() == kind for node in stage.model.get_ordered_ops())


def test_without_convolutions_products_with_weights_alone_are_in_bfloat16() -> None:
    weights = np.random.default_rng(3).normal(size=(2, 2)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Neg", ["x"], ["y"]),
            helper.make_node("MatMul", ["x", "w"], ["product"]),
            helper.make_node("MatMul", ["product", "y"], ["square"]),
        ],
        "products",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["hands", 2, 2])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["hands", 2, 2])
            for name in ("y", "product", "square")
        ],
        [numpy_helper.from_array(weights, "w")],
    )
    opset = helper.make_opsetid("", OPSET)
    content = helper.make_model(graph, opset_imports=[opset], ir_version=10).SerializeToString()
    (only,) = split_at_convolutions(openvino_core().read_model(content))
    types = {node.get_friendly_name(): node.get_element_type().get_type_name() for node in only.model.get_ops()}
    assert (only.precision, types["product"], types["square"]) == ("f32", "bf16", "f32")

    x = np.array([[[1.0001, 2.0001], [-3.0001, 4.0001]]], np.float32)
    y, product, square = (array.copy() for array in OpenvinoNetwork(content, "bf16 convolutions")({"x": x}))
    assert y.tolist() == (-x).tolist()
    assert product == pytest.approx(x @ weights, rel=0.02, abs=0.02)
    assert square == pytest.approx(product @ y, rel=1e-5)
