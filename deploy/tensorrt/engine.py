"""TensorRT on an NVIDIA GPU, the full library or that for RTX: clouds and rings stay on the device. No torch here."""

import io
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

import numpy as np

from calibration.errors import UserError
from deploy.artefact.manifest import read_file, read_manifest
from deploy.batches import CLOUDS, Clouds, CloudWindow, CropBatch, EngineShape, Refined, Stage1Keypoints
from deploy.tensorrt.cuda import Stream, find_gpu
from deploy.tensorrt.device_ring import DeviceRing
from deploy.tensorrt.library import load_library
from deploy.tensorrt.manifest import MOST_HANDS, NetworkName, read_engine, read_tensorrt_manifest
from deploy.tensorrt.network import DeviceNetwork, Sizes

log = logging.getLogger(__name__)


class TensorRTEngine:
    """The engines that `usthand export --tensorrt` built in `directory`, on the first GPU.

    Raises UserError where there is no GPU or none that they were built for, where their library is missing or of
    another version, where the directory is not as it was exported and built, and where the GPU's memory is out.
    """

    def __init__(self, directory: Path) -> None:
        networks = read_manifest(directory)
        manifest = read_tensorrt_manifest(directory, networks)
        gpu = find_gpu()
        library = load_library(manifest.library)
        if library.version != manifest.version:
            raise UserError(
                f"{directory}: its engines were built by {library.title} {manifest.version}, and {library.version} is "
                "installed. Build them again: usthand export CHECKPOINT DIR --tensorrt"
            )
        config = networks.network
        self.name = f"{library} on {gpu.name}"
        self.shape = EngineShape.of(config)
        self._views = networks.views
        self._latents = np.load(io.BytesIO(read_file(directory, networks, "latents.npy")), allow_pickle=False)
        self._latents_of: Sizes | None = None
        files = {name: read_engine(directory, manifest, name, gpu.compute_capability) for name in ("stage1", "stpt")}
        self._stream = Stream()
        try:

            def load(network: NetworkName) -> DeviceNetwork:
                file, content = files[network]
                path = directory / file.file
                interface = manifest.interface(network)
                kernels = path.with_suffix(".cache")
                return DeviceNetwork(library, content, interface, file.profiles, self._stream, str(path), kernels)

            self._stage1, self._stpt = load("stage1"), load("stpt")
        except BaseException:
            self._stream.close()
            raise

    def prepare(self, hands: Iterable[int], views: int) -> None:
        for count in hands:
            self._check(views)
            self._stage1.prepare((min(count, MOST_HANDS), views))
            self._stpt.prepare((min(count, MOST_HANDS), 1))

    def run_stage1(self, crops_rgb: np.ndarray, P_crop: np.ndarray, view_mask: np.ndarray) -> Clouds:
        return _few_at_a_time(self._run_stage1, crops_rgb, P_crop, view_mask)

    def refine(self, window: CloudWindow) -> Refined:
        return _few_at_a_time(self._refine, *window)

    def make_rings(self, hands: int, lock: AbstractContextManager) -> "DeviceRings":
        return DeviceRings(self, lock)

    def make_ring(self, mirror: np.ndarray, memory: Mapping[str, int] | None = None) -> DeviceRing:
        """A ring in `memory`, which another one is done with, or in new memory, which the engine frees at its end."""
        frames, sizes = self.shape.frames, {name: self._stage1.outputs[name].hand_bytes() for name in CLOUDS}
        memory = memory or {name: self._stream.device_memory(frames * size) for name, size in sizes.items()}
        return DeviceRing(self._stream, memory, sizes, frames, mirror)

    def run_stage1_into(
        self, rings: Sequence[DeviceRing], origins_world_m: Sequence[np.ndarray], *crops: np.ndarray
    ) -> Stage1Keypoints:
        """`run_stage1` with what it finds pushed into the hands' rings: their clouds never leave the GPU."""
        return _few_at_a_time(self._run_stage1_into, rings, origins_world_m, *crops)

    def refine_rings(self, rings: Sequence[DeviceRing]) -> Refined:
        return _few_at_a_time(self._refine_rings, rings)

    def close(self) -> None:
        """What `run_stage1`, `refine` and the like returned must not be used any more."""
        self._stage1.close()
        self._stpt.close()
        self._stream.close()

    def _run_stage1(self, crops_rgb: np.ndarray, P_crop: np.ndarray, view_mask: np.ndarray) -> Clouds:
        sizes = self._queue_stage1(crops_rgb, P_crop, view_mask)
        clouds = Clouds(*(self._stage1.outputs[name].read(sizes) for name in Clouds._fields))
        self._stream.wait()
        return clouds

    def _run_stage1_into(
        self, rings: Sequence[DeviceRing], origins_world_m: Sequence[np.ndarray], *crops: np.ndarray
    ) -> Stage1Keypoints:
        sizes = self._queue_stage1(*crops)
        buffers = {name: self._stage1.outputs[name] for name in CLOUDS}
        for hand, (ring, origin) in enumerate(zip(rings, origins_world_m, strict=True)):
            ring.push({name: each.device + hand * each.hand_bytes() for name, each in buffers.items()}, origin)
        found = Stage1Keypoints(*(self._stage1.outputs[name].read(sizes) for name in Stage1Keypoints._fields))
        self._stream.wait()
        return found

    def _refine(self, *window: np.ndarray) -> Refined:
        for name, array in zip(CloudWindow._fields, window, strict=True):
            self._stpt.inputs[name].write(array)
        return self._refined(len(window[0]))

    def _refine_rings(self, rings: Sequence[DeviceRing]) -> Refined:
        buffers = {name: self._stpt.inputs[name] for name in CLOUDS}
        windows = [
            ring.copy_window({name: each.device + hand * each.hand_bytes() for name, each in buffers.items()})
            for hand, ring in enumerate(rings)
        ]
        origins_m, masks = zip(*windows, strict=True)
        self._stpt.inputs["origins_m"].write(np.stack(origins_m))
        self._stpt.inputs["frame_mask"].write(np.stack(masks))
        return self._refined(len(rings))

    def _queue_stage1(self, crops_rgb: np.ndarray, P_crop: np.ndarray, view_mask: np.ndarray) -> Sizes:
        hands, views = view_mask.shape
        self._check(views)
        inputs = self._stage1.inputs
        if self._latents_of != (hands, views):
            inputs["latents"].write(np.repeat(self._latents[:, :, :views], hands, axis=0))
            self._latents_of = (hands, views)
        inputs["crops_rgb"].write(crops_rgb)
        inputs["P_crop"].write(P_crop)
        inputs["view_mask"].write(view_mask)
        self._stage1.run((hands, views))
        return hands, views

    def _refined(self, hands: int) -> Refined:
        self._stpt.run((hands, 1))
        refined = Refined(*(self._stpt.outputs[name].read((hands, 1)) for name in Refined._fields))
        self._stream.wait()
        return refined

    def _check(self, views: int) -> None:
        least, most = self._views
        if not least <= views <= most:
            raise UserError(f"{self.name}: {views} views, but the engine takes {least} to {most}.")


class DeviceRings:
    """The `HandRings` of a TensorRT engine: the clouds stay on its GPU."""

    def __init__(self, engine: TensorRTEngine, lock: AbstractContextManager) -> None:
        self._engine, self._lock = engine, lock
        self._rings: dict[int, DeviceRing] = {}
        self._free: list[Mapping[str, int]] = []

    def add(self, slot: int, mirror: np.ndarray) -> None:
        self._rings[slot] = self._engine.make_ring(mirror, self._free.pop() if self._free else None)

    def remove(self, slot: int) -> None:
        self._free.append(self._rings.pop(slot).memory)

    def __getitem__(self, slot: int) -> DeviceRing:
        return self._rings[slot]

    def run_stage1(
        self, slots: Sequence[int], origins_world_m: Sequence[np.ndarray], crops: CropBatch
    ) -> Stage1Keypoints:
        with self._lock:
            return self._engine.run_stage1_into([self._rings[slot] for slot in slots], origins_world_m, *crops)

    def refine(self, slots: Sequence[int]) -> Refined:
        return self._engine.refine_rings([self._rings[slot] for slot in slots])

    def refine_later(self, slots: Sequence[int]) -> Callable[[], Refined]:
        """Here and now: one stream does one thing at a time."""
        refined = Refined(*(array.copy() for array in self.refine(slots)))
        return lambda: refined


Found = TypeVar("Found", Clouds, Stage1Keypoints, Refined)


def _few_at_a_time(run: Callable[..., Found], *hands: Sequence | np.ndarray) -> Found:
    """`run` on as many hands at once as the engines take; `hands` are sequences with an element each for every hand."""
    if len(hands[0]) <= MOST_HANDS:
        return run(*hands)
    found = []
    for first in range(0, len(hands[0]), MOST_HANDS):
        part = run(*(each[first : first + MOST_HANDS] for each in hands))
        found.append(type(part)(*(array.copy() for array in part)))
    return type(found[0])(*(np.concatenate(arrays) for arrays in zip(*found, strict=True)))
