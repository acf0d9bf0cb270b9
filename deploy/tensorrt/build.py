"""TensorRT engines of an engine directory: one of each network for each compute capability, in mixed half precision.

The networks are strongly typed: their precision is in the graph, see mixed_precision.py. A directory's engines are
written one by one and their manifest last, so that an interrupted build leaves a directory whose engines are refused.
"""

import hashlib
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import onnx

from calibration.errors import UserError
from calibration.written_files import write_atomic
from deploy.artefact.manifest import Interface, TensorSpec, read_file, read_manifest
from deploy.tensorrt.library import EXTRAS, Library, check_bindings, installed, load_library, tensor_spec
from deploy.tensorrt.manifest import (
    FORMAT,
    NETWORKS,
    PRECISION,
    PROFILES,
    TENSORRT_MANIFEST,
    EngineFile,
    Profile,
    TensorRTManifest,
    manifest_sha256,
)
from deploy.tensorrt.mixed_precision import half_precision, module_of
from deploy.tensorrt.progress import BuildProgress, progress_monitor

if TYPE_CHECKING:
    from deploy.tensorrt.cuda import Gpu

log = logging.getLogger(__name__)

RTX_CAPABILITIES = ("8.6", "8.9", "12.0")
"""RTX 30, 40 and 50."""
TIMING_CACHE = "tensorrt.timing"


def targets(library: Library, capabilities: Sequence[str] | None) -> tuple[str, ...]:
    """What to build for: `capabilities`, or by default those of TensorRT for RTX, or this machine's GPU.

    Raises UserError for one that the library does not build for; the full library builds for the GPU that is here.
    """
    if library.name == "tensorrt_rtx":
        found = tuple(dict.fromkeys(capabilities or RTX_CAPABILITIES))
        for capability in found:
            library.compute_capability(capability)
        return found
    gpu = _gpu_here()
    if set(capabilities or ()) - {gpu.compute_capability}:
        raise UserError(
            f"`--compute-capability {' '.join(capabilities or ())}`: {library} builds for the GPU that is here, "
            f"{gpu.name} with {gpu.compute_capability}. Leave the flag out, or build where TensorRT for RTX is."
        )
    return (gpu.compute_capability,)


def library_here() -> Library:
    """TensorRT where it is installed and there is a GPU for it, else TensorRT for RTX.

    Raises UserError where neither is installed.
    """
    if len(installed()) == len(EXTRAS):
        try:
            _gpu_here()
        except UserError as error:
            log.info("export: TensorRT for RTX builds, since %s", error)
            return load_library("tensorrt_rtx")
    return load_library()


def _gpu_here() -> "Gpu":
    try:
        from deploy.tensorrt.cuda import find_gpu
    except ModuleNotFoundError as error:
        raise UserError(
            "TensorRT needs the package cuda-python. Install it: pip install 'usthand-live[gpu]'."
        ) from error
    return find_gpu()


def build(
    directory: Path, capabilities: Sequence[str] | None = None, library: Library | None = None
) -> TensorRTManifest:
    """Build the engines of an exported directory and write them and `tensorrt.json` there.

    Raises UserError as `targets` and `library_here`, for a directory that is not as it was exported, for an operation
    that TensorRT does not have, and where memory is out.
    """
    library = library or library_here()
    wanted = targets(library, capabilities)
    networks = read_manifest(directory)
    timing = directory / TIMING_CACHE if library.name == "tensorrt" else None
    engines = []
    for network in NETWORKS:
        interface = networks.stage1 if network == "stage1" else networks.stpt
        content = half_precision(read_file(directory, networks, f"{network}.onnx"))
        for capability in wanted:
            what = f"{network} for compute capability {capability}"
            log.info("export: %s, %s (%d of %d)", library, what, len(engines) + 1, len(NETWORKS) * len(wanted))
            start = time.perf_counter()
            engine = build_engine(library, content, interface, PROFILES[network], capability, what, timing)
            seconds = time.perf_counter() - start
            file = f"{network}.sm{capability.replace('.', '')}.engine"
            write_atomic(directory / file, engine)
            engines.append(
                EngineFile(
                    file=file,
                    network=network,
                    compute_capability=capability,
                    profiles=PROFILES[network],
                    bytes=len(engine),
                    seconds=round(seconds, 2),
                    sha256=hashlib.sha256(engine).hexdigest(),
                )
            )
    manifest = TensorRTManifest(
        format=FORMAT,
        library=library.name,
        version=library.version,
        precision=PRECISION,
        manifest_sha256=manifest_sha256(directory),
        stage1=networks.stage1,
        stpt=networks.stpt,
        engines=tuple(engines),
    )
    write_atomic(directory / TENSORRT_MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")
    _remove_others(directory, {engine.file for engine in engines})
    return manifest


def build_engine(
    library: Library,
    content: bytes,
    interface: Interface,
    profiles: Sequence[Profile],
    capability: str,
    what: str,
    timing: Path | None = None,
) -> bytes:
    """The serialized engine of an ONNX file in mixed precision. Raises UserError, see `build`; `what` names it there.

    `timing` is a file with what the full library has measured before, which is read and written.
    """
    trt = library.trt
    library.complaints.clear()
    try:
        builder = trt.Builder(library.logger)
    except TypeError:  # as its bindings say that there is none
        raise UserError(f"{what}: {library} cannot start a build: {library.complaint()}") from None
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, library.logger)
    if not parser.parse(content):
        raise UserError(parser_errors(library, parser, content, what))
    check_bindings(network_tensors(library, network), interface, what)
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # else products in float32, which are geometry, have 10 bits
    for profile in profiles:
        config.add_optimization_profile(_profile(builder, interface, profile))
    if library.name == "tensorrt_rtx":
        config.num_compute_capabilities = 1
        config.set_compute_capability(library.compute_capability(capability), 0)
    cache = None
    if timing is not None:
        cache = config.create_timing_cache(timing.read_bytes() if timing.is_file() else b"")
        if not config.set_timing_cache(cache, ignore_mismatch=False):  # of another GPU or version
            cache = config.create_timing_cache(b"")
            config.set_timing_cache(cache, ignore_mismatch=False)
    with BuildProgress(what) as progress:
        monitor = progress_monitor(trt, progress)  # which TensorRT does not keep alive
        config.progress_monitor = monitor
        plan = builder.build_serialized_network(network, config)
    if progress.stopped:
        raise KeyboardInterrupt
    if plan is None:
        if library.out_of_memory():
            raise UserError(
                f"{what}: {library} ran out of memory: {library.complaint()}. Close other programs that use the GPU "
                "(nvidia-smi lists them), or build on a machine with more."
            )
        raise UserError(f"{what}: {library} could not build the engine: {library.complaint()}")
    if timing is not None and cache is not None:
        write_atomic(timing, bytes(memoryview(cache.serialize())))
    return bytes(memoryview(plan))


def network_tensors(library: Library, network: Any) -> tuple[list, list]:
    """The inputs and outputs of a parsed network, as `check_bindings` takes them."""
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    found = [[tensor_spec(library, each.name, each.dtype, each.shape) for each in side] for side in (inputs, outputs)]
    return found[0], found[1]


def parser_errors(library: Library, parser: Any, content: bytes, what: str) -> str:
    """What the parser could not take: each operation, the module it came from, and the parser's reason."""
    nodes = {node.name: node for node in onnx.load_from_string(content).graph.node}
    said = []
    for index in range(min(parser.num_errors, 3)):
        error = parser.get_error(index)
        node = nodes.get(error.node_name())
        module = (module_of(node) if node is not None else "") or "no module that is known"
        reason = " ".join(error.desc().split())[:300]
        if reason in ("", "false"):  # what the check that failed came to
            reason = error.code().name.lower().replace("_", " ")
        said.append(f"the operation {error.node_operator() or '?'} of {module} (node {error.node_name()}): {reason}")
    found = "; ".join(said) or library.complaint()
    return (
        f"{what}: {library} cannot take {found}. Change that module, or run the directory with "
        "`usthand live --engine onnxruntime` or `usthand live --engine openvino`."
    )


def _profile(builder: Any, interface: Interface, profile: Profile) -> Any:
    made = builder.create_optimization_profile()
    for spec in interface.inputs:
        shapes = (profile_shape(spec, profile, kind) for kind in ("least", "best", "most"))
        made.set_shape(spec.name, *shapes)
    return made


def profile_shape(spec: TensorSpec, profile: Profile, kind: str) -> tuple[int, ...]:
    """The `least`, `best` or `most` sizes of a tensor in a profile."""
    return spec.sized(getattr(profile.hands, kind), getattr(profile.views, kind, 0))


def _remove_others(directory: Path, files: set[str]) -> None:
    """Engines of an earlier build that the new manifest does not name, and what their runtime had compiled."""
    for network in NETWORKS:
        for path in directory.glob(f"{network}.sm*.*"):
            if path.name not in files and path.suffix in (".engine", ".cache"):
                path.unlink(missing_ok=True)
