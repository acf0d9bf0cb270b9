"""OpenVINO on the CPU: float32, or bfloat16 where the CPU has it."""

from pathlib import Path
from typing import Literal

from deploy.artefact.manifest import read_manifest
from deploy.engines.exported import ExportedEngine
from deploy.engines.openvino_core import openvino
from deploy.engines.openvino_network import OpenvinoNetwork, Precision


def openvino_engine(directory: Path, precision: Literal["f32", "bf16"] = "f32") -> ExportedEngine:
    """Raises UserError for a directory that is not as it was exported.

    `bf16` is for the whole graph, geometry and all; of a landmark network for its convolutions alone, since views are
    weighed there by how their points agree, and those move by pixels where its last layers are bfloat16, too.
    """
    landmarks = read_manifest(directory).network.landmarks
    inside: Precision = "bf16 convolutions" if precision == "bf16" and landmarks else precision
    name = f"OpenVINO {openvino.__version__.split('-')[0]} {inside} on the CPU"
    return ExportedEngine(directory, name, lambda onnx: OpenvinoNetwork(onnx, inside))
