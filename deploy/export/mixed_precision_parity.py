"""How far the mixed precision graphs that TensorRT builds from move the joints, calculated by ONNX Runtime."""

import hashlib
import tempfile
from pathlib import Path

import msgspec

from deploy.artefact.manifest import MANIFEST, read_file, read_manifest
from deploy.engines import make_engine
from deploy.export.parity import LOWER, Parity, compare_engines
from deploy.tensorrt.manifest import NETWORKS
from deploy.tensorrt.mixed_precision import half_precision


def check_half_parity(directory: Path, windows: int = 4) -> list[Parity]:
    """The mixed precision graphs of an engine directory against its float32 ones, with 2, 4 and 8 views.

    Raises UserError where ONNX Runtime is not installed or the directory is not as it was exported.
    """
    with tempfile.TemporaryDirectory() as scratch:
        write_half_directory(directory, Path(scratch))
        exact, half = make_engine(str(directory), "onnxruntime"), make_engine(scratch, "onnxruntime")
        return compare_engines(exact, [(half, LOWER, f"mixed half precision by {half.name}")], windows)


def write_half_directory(directory: Path, to: Path) -> None:
    """The engine directory with its networks in mixed half precision, and a manifest that fits them."""
    manifest = read_manifest(directory)
    files = {f"{name}.onnx": half_precision(read_file(directory, manifest, f"{name}.onnx")) for name in NETWORKS}
    files["latents.npy"] = read_file(directory, manifest, "latents.npy")
    sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    for name, content in files.items():
        (to / name).write_bytes(content)
    (to / MANIFEST).write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, sha256=sha256)))
