"""`usthand bench engines`: that it counts and compares what it says; the speeds themselves are not asserted."""

from collections.abc import Iterable
from contextlib import AbstractContextManager

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from app.bench import engine_sets
from app.bench.engine_networks import ExportedNetwork, export_untrained
from app.bench.engine_rounds import Ceilings, milliseconds, ratio
from app.bench.engine_sets import STAGES, Case, Round, prepare, run_case
from app.bench.engine_tables import Table
from app.bench.engines import Plan, added_view, stage_rates
from deploy.batches import Clouds, CloudWindow, EngineShape, Refined, empty_crops, empty_window
from deploy.engines import make_engine
from deploy.engines.cloud_rings import CloudRings
from deploy.measure.operation_count import count_work
from models.network.config import recipe
from tests.support.live_run import last_json, usthand

FLOAT, J = TensorProto.FLOAT, 21


def network(node: onnx.NodeProto, inputs: dict[str, list], weights: dict[str, tuple[int, ...]], out: list) -> bytes:
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("y", FLOAT, out)],
        [helper.make_tensor(name, FLOAT, shape, np.zeros(np.prod(shape))) for name, shape in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]).SerializeToString()


def test_a_convolution_is_counted_by_hand():
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], strides=[2, 2], pads=[1, 1, 1, 1], group=2)
    weights = {"w": (6, 2, 3, 3), "b": (6,)}
    work = count_work(network(node, {"x": ["2*views", 4, 8, 8]}, weights, ["2*views", 6, 4, 4]), {"views": 3})
    assert work.operations == 2 * (6 * 6 * 4 * 4) * (2 * 3 * 3)
    assert work.weight_bytes == 4 * (6 * 2 * 3 * 3 + 6)
    assert work.least_bytes == work.counted_bytes == work.weight_bytes + 4 * (6 * 4 * 8 * 8 + 6 * 6 * 4 * 4)


@pytest.mark.parametrize(
    ("operation", "attributes", "inputs", "weights", "out", "expected"),
    [
        ("MatMul", {}, {"x": ["hands", "views", 5, 7]}, {"w": (7, 3)}, ["hands", "views", 5, 3], 2 * 6 * 5 * 7 * 3),
        ("MatMul", {}, {"x": ["hands", 5, 7], "w": ["hands", 7, 3]}, {}, ["hands", 5, 3], 2 * 2 * 5 * 7 * 3),
        ("Gemm", {}, {"x": ["views", 7]}, {"w": (7, 4), "b": (4,)}, ["views", 4], 2 * 3 * 7 * 4),
        ("Gemm", {"transA": 1, "transB": 1}, {"x": [7, "views"]}, {"w": (4, 7)}, ["views", 4], 2 * 3 * 7 * 4),
        (
            *("Einsum", {"equation": "bij, bjk -> bik"}, {"x": ["hands", 4, 5], "w": ["hands", 5, 6]}, {}),
            *(["hands", 4, 6], 2 * 2 * 4 * 5 * 6),
        ),
        ("ConvTranspose", {}, {"x": [1, 4, 5, 5]}, {"w": (4, 3, 2, 2)}, [1, 3, 6, 6], 2 * (4 * 5 * 5) * (3 * 2 * 2)),
        ("Add", {}, {"x": [4], "w": [4]}, {}, [4], 0),
    ],
)
def test_products_are_counted_by_hand(operation, attributes, inputs, weights, out, expected):
    node = helper.make_node(operation, [*inputs, *weights], ["y"], **attributes)
    content = network(node, inputs, weights, out)
    assert count_work(content, {"hands": 2, "views": 3}).operations == expected


def test_an_axis_without_a_size_is_named():
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    content = network(node, {"x": ["people", 7]}, {"w": (7, 3)}, ["people", 3])
    with pytest.raises(ValueError, match=r"the size of `[xy]` does not follow from \{'views': 3\}"):
        count_work(content, {"views": 3})


class StillEngine:
    """Finds nothing, at once; keeps what it was given."""

    name = "still on the CPU"
    shape = EngineShape(crop_px=32, hypotheses=2, anchors=2, frames=3, width=4)

    def __init__(self) -> None:
        self.stage1_inputs: list[tuple[np.ndarray, ...]] = []
        self.refined: list[CloudWindow] = []

    def prepare(self, hands: Iterable[int], views: int) -> None:
        pass

    def run_stage1(self, crops_rgb: np.ndarray, P_crop: np.ndarray, view_mask: np.ndarray) -> Clouds:
        hands, views = view_mask.shape
        self.stage1_inputs.append((crops_rgb.copy(), P_crop.copy(), view_mask.copy()))
        shapes = ((2 * J, 3), (2 * J, 4), (J, 3), (J, 4), (views, J, 2), (views, J), (views,), (views,))
        return Clouds(*(np.zeros((hands, *shape), np.float32) for shape in shapes))

    def refine(self, window: CloudWindow) -> Refined:
        self.refined.append(CloudWindow(*(array.copy() for array in window)))
        hands = len(window.frame_mask)
        return Refined(np.zeros((hands, J, 3), np.float32), np.zeros((hands, J, 3, 3), np.float32))

    def make_rings(self, hands: int, lock: AbstractContextManager) -> CloudRings:
        return CloudRings(self, hands, lock)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("recompute", [False, True])
def test_each_set_goes_from_images_to_joints(recompute: bool, monkeypatch: pytest.MonkeyPatch, request):
    engine = StillEngine()
    monkeypatch.setattr(engine_sets, "make_engine", lambda source, name: engine)
    case = Case(source=request.node.name, engine="still", views=3, hands=2, recompute=recompute)
    assert prepare(case) == engine.name
    sets = len(engine.refined)
    found = run_case(case, 0)
    assert len(engine.stage1_inputs) == len(engine.refined) == sets + 2  # one is not counted
    assert found.times_ms.shape == (1, len(STAGES)) and (found.times_ms[:, [0, 1, 3, 4]] > 0).all()
    assert found.times_ms[:, :-1].sum(1) == pytest.approx(found.times_ms[:, -1])
    crops, P_crop, view_mask = engine.stage1_inputs[-1]
    assert crops.shape == (2 * 3 if recompute else 2, 3, 32, 32, 3)
    assert crops.reshape(-1, 32 * 32 * 3).std(1).min() > 1 and view_mask.all()
    assert len(np.unique(P_crop.reshape(-1, 12), axis=0)) == P_crop.shape[0] * 3
    before = engine.stage1_inputs[-2][0]
    changed = (crops != before).any(axis=(1, 2, 3, 4))
    assert changed.tolist() == ([False, False, True] * 2 if recompute else [True, True])
    assert engine.refined[-1].frame_mask.shape == (2, 3) and engine.refined[-1].frame_mask.all()


def rounds_of(*whole_ms: float) -> list[Round]:
    """Rounds of one set each, a quarter of whose time goes to each stage."""
    return [Round(np.array([[ms / 4] * 4 + [ms]]), 1.0) for ms in whole_ms]


def test_ratios_are_of_each_round():
    drifting, twice_as_fast = rounds_of(10, 20, 90), rounds_of(5, 10, 45)
    assert ratio(drifting, twice_as_fast) == ratio(drifting, twice_as_fast, "stage1") == 2
    assert milliseconds(drifting)["whole_ms"] == {"p50": 20, "p95": 83, "p99": 88.6}
    plan = Plan(engines=["still"], views=[2, 4, 8], hands=[1])
    assert plan.usual == (4, 1)
    cases = {views: Case(source="", engine="still", views=views, hands=1) for views in plan.views}
    # 10 ms and 2 ms a view: a view more costs 2 ms, and one of the two first (10 + 2 * 2) / 2 = 7 ms.
    rounds = {case: rounds_of(*(slow * (10 + 2 * views) for slow in (1, 3))) for views, case in cases.items()}
    assert added_view(rounds, plan, "still") == pytest.approx(2 / 7, abs=1e-3)
    assert added_view(rounds, Plan(engines=["still"], views=[4], hands=[1]), "still") is None


def test_shares_are_of_the_best_product_of_the_precision_in_the_same_round():
    ceilings = Ceilings(
        [{"a": ("float32", 80.0), "b": ("float32", 100.0)}, {"a": ("float32", 50.0), "b": ("float32", 40.0)}],
        [10.0, 5.0],
    )
    work = {"operations": 5e8, "least_bytes": 5e6, "counted_bytes": 9e9}
    rates = stage_rates("stage1", work, rounds_of(40, 80), ceilings, "float32")  # 10 and 20 ms
    assert rates == {"gflop_per_s": 37.5, "of_gemm": 0.5, "gb_per_s": 0.375, "of_memcpy": 0.05}
    assert stage_rates("stage1", work, rounds_of(40, 80), ceilings, "bfloat16")["of_gemm"] is None
    elsewhere = stage_rates("ring", work | {"operations": 0.0}, rounds_of(40, 80), ceilings, None)
    assert elsewhere == {"gflop_per_s": None, "of_gemm": None, "gb_per_s": 0.375, "of_memcpy": None}


def test_tables_are_aligned_or_markdown():
    table = Table("Speeds", ["engine", "ms"], [["a", 12.345], ["long", None]])
    assert table.aligned() == "Speeds\nengine    ms\na       12.3\nlong"
    assert table.markdown() == "Speeds:\n\n| engine | ms |\n| --- | --- |\n| a | 12.3 |\n| long |  |"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--views", "9"], "invalid choice: 9"),
        (["--engines", "abacus"], "invalid choice: 'abacus'"),
        (["--hypotheses", "0"], "invalid choice: 0"),
        (["--seconds", "0"], "not a number above zero"),
        (["--recipe", "tiny", "--checkpoint", "shipped"], "not allowed with argument"),
        (["--checkpoint", "nowhere.safetensors"], "there is no such file"),
    ],
)
def test_bad_input_ends_with_2(flags: list[str], said: str):
    done = usthand("bench", "engines", *flags)
    assert done.returncode == 2 and said in done.stderr


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> ExportedNetwork:
    return export_untrained(recipe("tiny"), tmp_path_factory.mktemp("network"))


@pytest.mark.slow
@pytest.mark.parametrize(("hands", "views"), [(1, 2), (2, 5)])
def test_the_count_is_that_of_torch(exported: ExportedNetwork, hands: int, views: int):
    from torch.utils.flop_counter import FlopCounterMode

    engine = make_engine(exported.checkpoint, "torch")
    crops = empty_crops(hands, views, engine.shape.crop_px)
    with FlopCounterMode(display=False) as stage1:
        engine.run_stage1(*crops)
    with FlopCounterMode(display=False) as transformer:
        engine.refine(empty_window(engine.shape, hands))
    work = exported.work(views, hands)
    assert work["stage1"]["operations"] == stage1.get_total_flops() > 0
    assert work["transformer"]["operations"] == transformer.get_total_flops() > 0


@pytest.mark.slow
def test_engines_are_compared_in_one_run():
    done = usthand(
        *("bench", "engines", "--recipe", "tiny", "--engines", "torch", "openvino", "--views", "2", "--hands", "1"),
        *("--blocks", "1", "2", "--seconds", "0.2", "--markdown", "--json"),
        timeout=580,
    )
    assert done.returncode == 0, done.stderr
    assert "| openvino | 2 | 1 |" in done.stdout and "| K | GFLOP stage 1 |" in done.stdout
    result = last_json(done.stdout)
    assert result["engines"].keys() == {"torch", "openvino"} and not result["skipped"]
    assert [(row["engine"], row["views"], row["hands"]) for row in result["rows"]] == [
        ("torch", 2, 1),
        ("openvino", 2, 1),
    ]
    assert (result["views"], result["hands"]) == (2, 1) and result["fastest"] in result["engines"]
    for row in result["rows"]:
        for stage in STAGES:
            assert 0 <= row[f"{stage}_ms"]["p50"] <= row[f"{stage}_ms"]["p95"] <= row[f"{stage}_ms"]["p99"]
        slowest = max(row[f"{stage}_ms"]["p50"] for stage in STAGES[:-1])
        assert slowest <= row["whole_ms"]["p50"] and row["sets"] >= result["rounds"]
        assert row["p99_of_p50"] == pytest.approx(row["whole_ms"]["p99"] / row["whole_ms"]["p50"], rel=2e-3)
        assert row["rates"]["stage1"]["of_gemm"] > 0 and row["rates"]["ring"]["gflop_per_s"] is None
        assert row["times_faster_than_torch"] == 1 or row["engine"] == "openvino"
    assert {each["engine"] for each in result["recompute"]} == {"torch", "openvino"}
    assert {"NumPy float32", "OpenVINO float32", "OpenVINO bfloat16"} == result["gemm_gflops"].keys()
    first, last = result["blocks"]
    assert (first["blocks"], last["blocks"], first["times_the_first"]) == (1, 2, 1)
    assert (
        first["transformer_gflop"]
        < last["transformer_gflop"]
        == pytest.approx(result["work"]["transformer"]["operations"] / 1e9, rel=1e-3)
    )
    assert result["hypotheses"] == [] and result["added_view"] is None
