"""Which engines run here, and why one does not. Each is asked in a process of its own."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from app.doctor.finding import Finding, Findings, Machine, run_module

_NAMES = ("tensorrt", "onnxruntime", "openvino-bf16", "openvino", "torch")
_EXTRAS = {"tensorrt": "tensorrt-rtx", "onnxruntime": "cpu", "torch": "train"}
_INSTALL = "pip install 'usthand-live[{}]'"


def check_engines(machine: Machine) -> Findings:
    with ThreadPoolExecutor(2) as pool:
        answers = dict(zip(_NAMES, pool.map(_ask, _NAMES), strict=True))
    works = [name for name, answer in answers.items() if "runs" in answer]
    has_gpu = bool(machine.find("dev/nvidia[0-9]*"))
    for name, answer in answers.items():
        topic = f"engine {name}"
        if "runs" in answer:
            yield Finding(topic, "ok", answer["runs"])
            continue
        extra = _EXTRAS.get(name)
        remedy = _INSTALL.format(extra) if extra else "pip install --force-reinstall 'usthand-live'"
        if answer["missing"] and not (has_gpu and name == "tensorrt") and name != "openvino":
            hint = f" ({remedy})" if extra and "installed" in answer["why_not"] else ""
            yield Finding(topic, "ok", f"not used: {answer['why_not']}{hint}")
        else:
            yield Finding(topic, "warning", f"cannot run: {answer['why_not']}", remedy)
    if not {"openvino", "onnxruntime", "tensorrt"} & set(works):
        yield Finding("engines", "problem", "none finds hands in images", "pip install 'usthand-live[cpu]'")


def _ask(name: str) -> dict[str, Any]:
    told, error = run_module("deploy.measure.availability", name)
    return told if isinstance(told, dict) else {"why_not": error, "missing": False}
