"""NVIDIA's TensorRT, the full library or TensorRT for RTX: the one place that imports either. No torch here.

Both have the same interface. The full one builds for the GPU of this machine and needs it; the one for RTX builds on
any machine, for the compute capabilities that it is given, and compiles its kernels where the engine runs.
"""

import importlib
import importlib.util
import logging
from functools import cache
from itertools import zip_longest
from types import ModuleType
from typing import Any, Literal

from calibration.errors import UserError
from deploy.artefact.manifest import Interface, TensorSpec

log = logging.getLogger(__name__)

Tensor = tuple[str, str, tuple[int, ...]]
"""One of a network or an engine: name, type and sizes, -1 where dynamic."""
LibraryName = Literal["tensorrt", "tensorrt_rtx"]
_TITLES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT for RTX"}
_PACKAGES = {"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt_rtx_bindings"}
EXTRAS = {"tensorrt": "gpu", "tensorrt_rtx": "tensorrt-rtx"}


class Library:
    """A loaded library: its module `trt`, its `name`, `title` and `version`, and what it last complained of."""

    def __init__(self, name: LibraryName, trt: ModuleType) -> None:
        self.name: LibraryName = name
        self.trt: Any = trt
        self.title = _TITLES[name]
        self.version = str(trt.__version__)
        self.complaints: list[str] = []
        self.logger = _logger(trt, self.complaints)

    def __str__(self) -> str:
        return f"{self.title} {self.version}"

    def compute_capability(self, capability: str) -> Any:
        """The library's name of a compute capability, as 8.9. Raises UserError where it builds for none such."""
        known = {
            f"{name[2:-1]}.{name[-1]}": value
            for name, value in self.trt.ComputeCapability.__members__.items()
            if name.startswith("SM")
        }
        if capability not in known:
            raise UserError(
                f"compute capability `{capability}`: {self} builds for {', '.join(known)}. NVIDIA lists that of each "
                "GPU at developer.nvidia.com/cuda-gpus."
            )
        return known[capability]

    def complaint(self) -> str:
        """What went wrong, in the library's words: its last error that is not of the missing GPU itself."""
        return next((said for said in reversed(self.complaints) if "catchCudaError" not in said), "it did not say why")

    def out_of_memory(self) -> bool:
        said = " ".join(self.complaints).lower().replace(" ", "")
        return "outofmemory" in said or "requestedamountofgpumemory" in said or "insufficientmemory" in said


def installed() -> list[LibraryName]:
    return [name for name in ("tensorrt", "tensorrt_rtx") if importlib.util.find_spec(_PACKAGES[name]) is not None]


@cache
def load_library(name: LibraryName | None = None) -> Library:
    """The library of that name; without a name TensorRT where it is installed, else TensorRT for RTX.

    Raises UserError where it is not installed or cannot be loaded.
    """
    found = installed()
    if name is None:
        name = found[0] if found else None
    if name is None or name not in found:
        which = [name] if name else list(EXTRAS)
        ways = " or, ".join(f"for {_TITLES[each]}: pip install 'usthand-live[{EXTRAS[each]}]'" for each in which)
        raise UserError(f"{' or '.join(_TITLES[each] for each in which)} is not installed. Install it, {ways}.")
    try:
        if name == "tensorrt_rtx":
            importlib.import_module("tensorrt_rtx_libs")  # loads the two libraries that the bindings link to
            return Library(name, importlib.import_module("tensorrt_rtx_bindings"))
        return Library(name, importlib.import_module("tensorrt"))
    except (ImportError, OSError) as error:
        raise UserError(
            f"{_TITLES[name]} is installed but cannot be loaded ({error}). "
            f"Install it again: pip install --force-reinstall 'usthand-live[{EXTRAS[name]}]'."
        ) from error


def tensor_spec(library: Library, name: str, dtype: Any, shape: Any) -> Tensor:
    types = {library.trt.uint8: "uint8", library.trt.bool: "bool", library.trt.float32: "float32"}
    return name, types.get(dtype, str(dtype)), tuple(shape)


def check_bindings(found: tuple[list[Tensor], list[Tensor]], interface: Interface, what: str) -> None:
    """Compare the inputs and outputs of a network or an engine with those of the manifest, in order.

    Raises UserError that names the first one that differs.
    """
    for side, tensors, specs in zip(("input", "output"), found, (interface.inputs, interface.outputs), strict=True):
        for number, (got, spec) in enumerate(zip_longest(tensors, specs), 1):
            if got is None or spec is None or not _fits(got, spec):
                expected = f"{spec.name} {spec.dtype} {spec.shape}" if spec else "none"
                raise UserError(
                    f"{what}: {side} {number} is {' '.join(map(str, got)) if got else 'missing'}, expected {expected} "
                    "by its manifest. Build it again: usthand export CHECKPOINT DIR --tensorrt"
                )


def _fits(got: Tensor, spec: TensorSpec) -> bool:
    name, dtype, shape = got
    sizes = (
        # The size of an output that follows from the inputs' may be open until they are known.
        size == -1 if isinstance(expected, str) else size in (-1, expected)
        for size, expected in zip(shape, spec.shape, strict=False)
    )
    return name == spec.name and dtype == spec.dtype and len(shape) == len(spec.shape) and all(sizes)


def _logger(trt: Any, complaints: list[str]) -> Any:
    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.Severity.ERROR:
                complaints.append(message)
                del complaints[:-50]
            log.debug("%s: %s", severity, message)

    return Logger()
