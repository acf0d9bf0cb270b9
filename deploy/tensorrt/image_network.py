"""An image network as TensorRT engine in float32, built when it is first asked for and kept in the user's cache."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from calibration.cached_folder import cached_folder, user_cache
from calibration.errors import UserError
from deploy.artefact.manifest import Interface, TensorSpec
from deploy.image_network import BATCHES, batch_of, check_input, padded
from deploy.tensorrt.build import build_engine
from deploy.tensorrt.cuda import Stream, find_gpu
from deploy.tensorrt.library import Library, load_library
from deploy.tensorrt.manifest import Profile, Range
from deploy.tensorrt.network import DeviceNetwork

BATCH_PROFILE = Profile(Range(1, 8, BATCHES[-1]))
"""Crops and images of a set: one hand in one view up to four hands in four."""
_BATCH = "hands"  # the axis as buffers and profiles name it
_TYPES: dict[int, str] = {TensorProto.FLOAT: "float32", TensorProto.UINT8: "uint8", TensorProto.BOOL: "bool"}
_FILE = "network.engine"


def image_interface(path: Path, content: bytes, image_shape: tuple[int, ...]) -> Interface:
    """What goes into an ONNX file's network and what comes out, for images of that shape.

    Raises WrongImage as `check_input`, UserError for a tensor of a type or size that no image network has.
    """
    graph = onnx.load_from_string(content).graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    check_input(path, [_sizes(value) for value in inputs], image_shape)
    outputs = []
    for value in graph.output:
        kind, sizes = value.type.tensor_type.elem_type, _sizes(value)[1:]
        if kind not in _TYPES or None in sizes:
            raise UserError(f"{path}: its output `{value.name}` has a type or size that is known only when it runs.")
        outputs.append(TensorSpec(value.name, _TYPES[kind], (_BATCH, *sizes)))  # type: ignore[arg-type]
    kind = _TYPES.get(inputs[0].type.tensor_type.elem_type, "float32")
    given = TensorSpec(inputs[0].name, kind, (_BATCH, *image_shape))  # type: ignore[arg-type]
    return Interface((given,), tuple(outputs))


def build_image_engine(library: Library, content: bytes, interface: Interface, capability: str, what: str) -> bytes:
    """The serialized engine. Raises UserError as deploy.tensorrt.build."""
    return build_engine(library, content, interface, (BATCH_PROFILE,), capability, what)


class TensorRTImages:
    """An ImageNetwork on the first GPU. Batches are filled up to few sizes, larger ones go in parts.

    Raises UserError where there is no GPU, no TensorRT, or the network cannot be built.
    """

    def __init__(self, path: Path, content: bytes, image_shape: tuple[int, ...], cache: Path | None = None) -> None:
        gpu, library = find_gpu(), load_library()
        interface = image_interface(path, content, image_shape)
        key = f"{library} {gpu.compute_capability} {image_shape} {BATCH_PROFILE}".encode()
        folder = cached_folder(
            cache or user_cache(),
            f"tensorrt-{path.stem}",
            hashlib.sha256(content + key).hexdigest()[:16],
            lambda folder: (folder / _FILE).is_file(),
            lambda folder: (folder / _FILE).write_bytes(
                build_image_engine(library, content, interface, gpu.compute_capability, path.stem)
            ),
        )
        file = folder / _FILE
        self.name = f"{library} on {gpu.name}"
        self.outputs = tuple(spec.name for spec in interface.outputs)
        self._stream = Stream()
        try:
            self._network = DeviceNetwork(
                library,
                file.read_bytes(),
                interface,
                (BATCH_PROFILE,),
                self._stream,
                str(path),
                file.with_suffix(".cache"),
            )
        except BaseException:
            self._stream.close()
            raise
        self._input = self._network.inputs[interface.inputs[0].name]

    def __call__(self, images: Iterable[np.ndarray]) -> list[np.ndarray]:
        batch, largest = batch_of(images), BATCHES[-1]
        parts = [self._run(batch[first : first + largest]) for first in range(0, len(batch), largest)]
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]

    def close(self) -> None:
        self._network.close()
        self._stream.close()

    def _run(self, images: np.ndarray) -> list[np.ndarray]:
        batch = padded(images)
        sizes = len(batch), 1
        self._input.write(batch)
        self._network.run(sizes)
        found = [self._network.outputs[name].read(sizes) for name in self.outputs]
        self._stream.wait()
        return [array[: len(images)].copy() for array in found]


def _sizes(value: onnx.ValueInfoProto) -> tuple[int | None, ...]:
    return tuple(size.dim_value if size.HasField("dim_value") else None for size in value.type.tensor_type.shape.dim)
