"""What this machine's CPU can do at most, measured: a product of matrices, and a copy of memory."""

import importlib.util
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from deploy.artefact.manifest import OPSET

_SIDE = 1536
_COPIED_BYTES = 1 << 27


def gemms() -> dict[str, tuple[str, Callable[[], object]]]:
    """Products of square float32 matrices by what calculates them: the precision inside, and one product.

    NumPy, and the runtimes that are installed, on all cores. Only OpenVINO has bfloat16.
    """
    random = np.random.default_rng(0)
    left, right = (random.standard_normal((_SIDE, _SIDE), np.float32) for _ in range(2))
    out = np.empty_like(left)
    found: dict[str, tuple[str, Callable[[], object]]] = {
        "NumPy float32": ("float32", lambda: np.matmul(left, right, out=out))
    }
    network = product_network(right)
    if importlib.util.find_spec("openvino"):
        from deploy.engines.openvino_network import OpenvinoNetwork

        for precision, product in (
            ("float32", OpenvinoNetwork(network, "f32")),
            ("bfloat16", OpenvinoNetwork(network, "bf16")),
        ):
            found[f"OpenVINO {precision}"] = (precision, lambda product=product: product({"left": left[None]}))
    return found


def gemm_gflops(product: Callable[[], object], seconds: float) -> float:
    """Of one of `gemms`, the median of `seconds`."""
    return 2 * _SIDE**3 / _median_s(product, seconds) / 1e9


def memcpy_gb_per_s(threads: int, seconds: float) -> float:
    """Bytes read and bytes written, of memory that no cache holds, by so many threads; the median of `seconds`."""
    source, to = np.ones(_COPIED_BYTES, np.uint8), np.zeros(_COPIED_BYTES, np.uint8)
    parts = list(zip(np.array_split(to, threads), np.array_split(source, threads), strict=True))
    with ThreadPoolExecutor(threads) as pool:
        median_s = _median_s(lambda: list(pool.map(lambda part: np.copyto(*part), parts)), seconds)
    return 2 * _COPIED_BYTES / median_s / 1e9


def product_network(right: np.ndarray) -> bytes:
    """An ONNX file that multiplies `left` (1, n, K) with the weights `right` (K, m), float32."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["left", "right"], ["product"])],
        "product",
        [helper.make_tensor_value_info("left", TensorProto.FLOAT, [1, "n", right.shape[0]])],
        [helper.make_tensor_value_info("product", TensorProto.FLOAT, [1, "n", right.shape[1]])],
        [numpy_helper.from_array(right, "right")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _median_s(task: Callable[[], object], seconds: float) -> float:
    task()
    taken_s, end = [], time.perf_counter() + seconds
    while not taken_s or time.perf_counter() < end:
        start = time.perf_counter()
        task()
        taken_s.append(time.perf_counter() - start)
    return float(np.median(taken_s))
