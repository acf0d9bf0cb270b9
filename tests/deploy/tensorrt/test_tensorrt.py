"""TensorRT: mixed precision graphs, the real builder (that for RTX needs no GPU), and what does not fit is refused."""

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from calibration.errors import UserError
from deploy.artefact.cached_export import cached_export
from deploy.artefact.manifest import Interface, TensorSpec, read_manifest
from deploy.engines import check_engine, make_engine
from deploy.export.mixed_precision_parity import check_half_parity
from deploy.tensorrt.build import RTX_CAPABILITIES, build, build_engine, library_here, profile_shape, targets
from deploy.tensorrt.library import load_library
from deploy.tensorrt.manifest import (
    MOST_HANDS,
    PROFILES,
    TENSORRT_MANIFEST,
    Profile,
    Range,
    read_engine,
    read_tensorrt_manifest,
)
from deploy.tensorrt.mixed_precision import half_precision, module_of
from deploy.tensorrt.progress import BuildProgress
from tests.support.live_run import usthand
from tests.support.tensorrt_cases import built_directory, needs_no_gpu, needs_rtx

Operation = tuple[str, list[str], str]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_directory(tmp_path_factory.getbasetemp())


def graph_of(*operations: Operation, module: str = "net.head") -> bytes:
    """An ONNX file of operations on `x` (hands, 4, 8) with weights `w` (8, 8), whose last result is `y`."""
    nodes = []
    for number, (operation, inputs, output) in enumerate(operations):
        node = helper.make_node(operation, inputs, [output], name=f"node_{number}")
        if operation == "Transpose":
            node.attribute.append(helper.make_attribute("perm", [0, 2, 1]))
        node.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=f"['', 'net', '{module}', 'call']")
        nodes.append(node)
    weights = onnx.numpy_helper.from_array(np.eye(8, dtype=np.float32), "w")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["hands", 4, 8]) for name in ("x", "y")]
    inner = [helper.make_tensor_value_info(each[2], TensorProto.FLOAT, None) for each in operations[:-1]]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [weights], value_info=inner)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()


def interface(output: str = "y", size: int = 8) -> Interface:
    x, y = (TensorSpec(name, "float32", ("hands", 4, width)) for name, width in (("x", 8), (output, size)))
    return Interface((x,), (y,))


def half_results(content: bytes) -> set[str]:
    graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(half_precision(content))).graph
    values = (*graph.value_info, *graph.output)
    return {each.name for each in values if each.type.tensor_type.elem_type == TensorProto.FLOAT16}


def test_products_are_float16_and_what_is_read_from_them_float32() -> None:
    chain = [("MatMul", ["x", "w"], "a"), ("Relu", ["a"], "b"), ("Add", ["b", "x"], "c"), ("Softmax", ["c"], "y")]
    assert half_results(graph_of(*chain)) == {"a", "b", "x_float16"}


def test_products_of_positions_and_densities_stay_float32() -> None:
    positions = [("Transpose", ["x"], "a"), ("MatMul", ["x", "a"], "b"), ("MatMul", ["b", "x"], "y")]
    assert half_results(graph_of(*positions)) == set()
    features = [("MatMul", ["x", "w"], "f"), ("Transpose", ["f"], "a"), ("MatMul", ["x", "a"], "b")]
    assert half_results(graph_of(*features, ("MatMul", ["b", "x"], "y"))) >= {"f", "a", "b", "y_float16"}
    coupling = [("MatMul", ["x", "w"], "a"), ("Relu", ["a"], "y")]
    assert half_results(graph_of(*coupling, module="stage1.flow.couplings.0")) == set()


@needs_rtx
def test_an_operation_that_tensorrt_lacks_is_named_with_its_module() -> None:
    library = load_library("tensorrt_rtx")
    content = graph_of(("MatMul", ["x", "w"], "a"), ("Det", ["a"], "y"), module="stage1.casa.out")
    with pytest.raises(UserError, match=r"cannot take the operation Det of stage1\.casa\.out \(node node_1\): uns"):
        build_engine(library, content, interface(), [Profile(Range(1, 2, 2))], "8.9", "stage1")


@needs_rtx
def test_a_small_network_builds_and_one_with_other_bindings_is_refused() -> None:
    library = load_library("tensorrt_rtx")
    content = half_precision(graph_of(("MatMul", ["x", "w"], "y")))
    engines = [
        build_engine(library, content, interface(), [Profile(Range(1, 2, 2))], capability, "small")
        for capability in ("8.9", "12.0")
    ]
    assert engines[0] != engines[1]
    for wrong in (interface("z"), interface(size=9), interface("y_float16")):
        with pytest.raises(UserError, match=r"small: output 1 is y float32 \(-1, 4, 8\), expected"):
            build_engine(library, content, wrong, [Profile(Range(1, 2, 2))], "12.0", "small")


@needs_rtx
def test_what_to_build_for() -> None:
    library = load_library("tensorrt_rtx")
    assert targets(library, None) == RTX_CAPABILITIES == ("8.6", "8.9", "12.0")
    assert targets(library, ["8.9", "8.9"]) == ("8.9",)
    with pytest.raises(UserError, match=r"compute capability `9.0`: TensorRT for RTX .* builds for 7.5, 8.0, 8.6"):
        targets(library, ["9.0"])


@needs_rtx
@needs_no_gpu
def test_with_both_libraries_and_no_gpu_that_for_rtx_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.tensorrt.build.installed", lambda: ["tensorrt", "tensorrt_rtx"])
    assert library_here().name == "tensorrt_rtx"


def test_every_rig_has_one_profile_and_the_shapes_of_a_profile_rise() -> None:
    for views in range(2, 9):
        assert sum(views in profile.views for profile in PROFILES["stage1"] if profile.views) == 1
    spec = TensorSpec("latents", "float32", ("hands", 8, "views", 42))
    shapes = [profile_shape(spec, PROFILES["stage1"][1], kind) for kind in ("least", "best", "most")]
    assert shapes == [(1, 8, 3, 42), (MOST_HANDS, 8, 4, 42), (MOST_HANDS, 8, 4, 42)]


def test_a_build_is_stopped_by_the_interrupt_key_and_only_then() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        with BuildProgress("build") as progress:
            progress.start("all", 2)
            progress.start("part", 1)
            assert progress.step("part") and progress.step("all")
            signal.raise_signal(signal.SIGINT)
            assert not progress.step("all")
            progress.finish("part")
        assert progress.stopped
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_missing_library_and_a_flag_alone_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("deploy.tensorrt.library.installed", list)
    with pytest.raises(
        UserError, match=r"pip install 'usthand-live\[gpu\]'.*pip install 'usthand-live\[tensorrt-rtx\]'"
    ):
        load_library.__wrapped__()
    refused = usthand("export", "shipped", tmp_path / "engine", "--compute-capability", "8.9")
    assert refused.returncode == 2 and "Give `--tensorrt`, too" in refused.stderr


@pytest.mark.slow
@needs_rtx
def test_geometry_of_the_networks_stays_float32(built: Path) -> None:
    float32 = {"GridSample", "TopK", "Softmax", "Exp", "Tanh", "ReduceSum", "Div", "Log", "Where", "LayerNormalization"}
    for name in ("stage1", "stpt"):
        content = (built / f"{name}.onnx").read_bytes()
        half = half_results(content)
        nodes = onnx.load_from_string(half_precision(content)).graph.node
        assert all(node.output[0] in half for node in nodes if node.op_type == "Conv")
        assert not [node.name for node in nodes if node.op_type in float32 and half & set(node.output)]
        lifted = [node for node in nodes if module_of(node) == "stage1" and node.op_type in ("Add", "Sub", "Mul")]
        assert not [node.name for node in lifted if half & set(node.output)]
        assert not [node.name for node in nodes if "stage1.flow" in module_of(node) and half & set(node.output)]
        products = [node for node in nodes if node.op_type == "MatMul" and module_of(node).endswith("cross")]
        assert sum(node.output[0] in half for node in products) == 2 * len(products) // 3  # not that with positions


@pytest.mark.slow
@needs_rtx
def test_mixed_precision_hardly_moves_the_joints(built: Path) -> None:
    found = check_half_parity(built, windows=2)
    assert [each.views for each in found] == [2, 4, 8]
    assert all(each.holds and 1e-4 < each.mean_mm < 0.05 for each in found), found  # measured 0.002, and 0 is no half
    assert not replace(found[0], mean_mm=0.6).holds and not replace(found[0], max_mm=np.inf).holds


@pytest.mark.slow
@needs_rtx
def test_the_built_engines_carry_what_their_manifest_says(built: Path) -> None:
    """Without a GPU TensorRT deserialises nothing: its parsed network was compared, here are the names in the file."""
    manifest = read_tensorrt_manifest(built, read_manifest(built))
    assert manifest.precision == "float16, geometry in float32"
    for network in ("stage1", "stpt"):
        for capability in RTX_CAPABILITIES:
            file, content = read_engine(built, manifest, network, capability)
            specs = (*manifest.interface(network).inputs, *manifest.interface(network).outputs)
            assert all(spec.name.encode() in content for spec in specs)
            assert file.profiles == PROFILES[network]
    assert {path.name for path in built.glob("*.engine")} == {each.file for each in manifest.engines}


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "engine"))


def rewrite(directory: Path, **changes: object) -> None:
    path = directory / TENSORRT_MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.slow
@needs_rtx
def test_edited_and_mismatched_engines_are_refused(copy: Path) -> None:
    networks = read_manifest(copy)
    manifest = read_tensorrt_manifest(copy, networks)
    with pytest.raises(UserError, match=r"are for GPUs of compute capability 8.6, 8.9, 12.0, and the GPU here has 7.5"):
        read_engine(copy, manifest, "stage1", "7.5")
    path = copy / "stpt.sm89.engine"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match=r"stpt.sm89.engine: not the file that tensorrt.json was written for"):
        read_engine(copy, manifest, "stpt", "8.9")
    path.unlink()
    with pytest.raises(UserError, match=r"stpt.sm89.engine: cannot be read"):
        read_engine(copy, manifest, "stpt", "8.9")
    wrong = {"format `other`": {"format": "other"}, "damaged": {"engines": 3}, "unknown field": {"extra": 1}}
    for said, changes in wrong.items():
        before = (copy / TENSORRT_MANIFEST).read_text()
        rewrite(copy, **changes)
        with pytest.raises(UserError, match=said):
            check_engine(str(copy), "tensorrt")
        (copy / TENSORRT_MANIFEST).write_text(before)
    (copy / "manifest.json").write_bytes((copy / "manifest.json").read_bytes() + b"\n")
    with pytest.raises(UserError, match=r"built from other networks than those of manifest.json"):
        check_engine(str(copy), "tensorrt")
    (copy / TENSORRT_MANIFEST).unlink()
    with pytest.raises(UserError, match=r"holds no TensorRT engines.*usthand export CHECKPOINT DIR --tensorrt"):
        make_engine(str(copy), "tensorrt")


@pytest.mark.slow
@needs_rtx
def test_the_packaged_checkpoint_builds_and_its_mixed_precision_holds(tmp_path: Path) -> None:
    """The recipe `live`: upright crops of 224 pixels through a landmark network, and three rounds of robust lifting."""
    directory = cached_export("shipped")
    assert directory is not None
    copied = Path(shutil.copytree(directory, tmp_path / "live"))
    library = load_library("tensorrt_rtx")
    built = build(copied, ["8.9"], library)
    assert [engine.network for engine in built.engines] == ["stage1", "stpt"]
    manifest = read_manifest(copied)
    assert manifest.network.landmarks and read_tensorrt_manifest(copied, manifest) == built
    assert all(read_engine(copied, built, engine.network, "8.9")[0] == engine for engine in built.engines)
    assert all(found.holds for found in check_half_parity(copied, windows=2))
