"""TensorRT on an NVIDIA GPU, the full library or that for RTX: clouds and rings stay on the device. No torch here."""

import io
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from calibration.errors import UserError
from deploy.artefact.manifest import read_file, read_manifest
from deploy.batches import Clouds, CloudWindow, EngineShape, Refined, Stage1Keypoints
from deploy.engines.engine import HandRing
from deploy.tensorrt.cuda import Stream, find_gpu
from deploy.tensorrt.library import load_library
from deploy.tensorrt.manifest import MOST_HANDS, NetworkName, read_engine, read_tensorrt_manifest
from deploy.tensorrt.network import DeviceNetwork, Sizes
from deploy.tensorrt.ring import CLOUDS, DeviceRing

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
        self._free_rings: list[DeviceRing] = []

    def prepare(self, hands: Iterable[int], views: int) -> None:
        for count in hands:
            hands_at_once = min(count, MOST_HANDS)
            self._check(hands_at_once, views)
            self._stage1.prepare((hands_at_once, views))
            self._stpt.prepare((hands_at_once, 1))

    def run_stage1(self, crops_rgb: np.ndarray, P_crop: np.ndarray, view_mask: np.ndarray) -> Clouds:
        """More hands than those of a person, as places to look at, go through the GPU a few at a time."""
        if len(view_mask) > MOST_HANDS:
            parts = (slice(first, first + MOST_HANDS) for first in range(0, len(view_mask), MOST_HANDS))
            found = [
                [array.copy() for array in self._run_stage1(crops_rgb[part], P_crop[part], view_mask[part])]
                for part in parts
            ]
            return Clouds(*(np.concatenate(arrays) for arrays in zip(*found, strict=True)))
        return self._run_stage1(crops_rgb, P_crop, view_mask)

    def _run_stage1(self, crops_rgb: np.ndarray, P_crop: np.ndarray, view_mask: np.ndarray) -> Clouds:
        sizes = self._queue_stage1(crops_rgb, P_crop, view_mask)
        clouds = Clouds(*(self._stage1.outputs[name].read(sizes) for name in Clouds._fields))
        self._stream.wait()
        return clouds

    def refine(self, window: CloudWindow) -> Refined:
        for name, array in window._asdict().items():
            self._stpt.inputs[name].write(array)
        return self._refined(len(window.frame_mask))

    def make_ring(self, mirror: np.ndarray) -> DeviceRing:
        if self._free_rings:
            ring = self._free_rings.pop()
            ring.clear(mirror)
            return ring
        frame_bytes = {name: self._stage1.outputs[name].hand_bytes() for name in CLOUDS}
        return DeviceRing(self._stream, self.shape.frames, frame_bytes, mirror)

    def drop_ring(self, ring: HandRing) -> None:
        assert isinstance(ring, DeviceRing)
        self._free_rings.append(ring)

    def run_stage1_into(
        self,
        rings: Sequence[HandRing],
        origins_world_m: Sequence[np.ndarray],
        crops_rgb: np.ndarray,
        P_crop: np.ndarray,
        view_mask: np.ndarray,
    ) -> Stage1Keypoints:
        sizes = self._queue_stage1(crops_rgb, P_crop, view_mask)
        for hand, (ring, origin) in enumerate(zip(rings, origins_world_m, strict=True)):
            assert isinstance(ring, DeviceRing)
            buffers = {name: self._stage1.outputs[name] for name in CLOUDS}
            ring.push({name: each.device + hand * each.hand_bytes() for name, each in buffers.items()}, origin)
        seen = Stage1Keypoints(*(self._stage1.outputs[name].read(sizes) for name in Stage1Keypoints._fields))
        self._stream.wait()
        return seen

    def refine_rings(self, rings: Sequence[HandRing]) -> Refined:
        origins_m, masks = [], []
        for hand, ring in enumerate(rings):
            assert isinstance(ring, DeviceRing)
            buffers = {name: self._stpt.inputs[name] for name in CLOUDS}
            window = ring.copy_window({name: each.device + hand * each.hand_bytes() for name, each in buffers.items()})
            origins_m.append(window[0])
            masks.append(window[1])
        self._stpt.inputs["origins_m"].write(np.stack(origins_m))
        self._stpt.inputs["frame_mask"].write(np.stack(masks))
        return self._refined(len(rings))

    def close(self) -> None:
        """What `run_stage1`, `refine` and the like returned must not be used any more."""
        self._stage1.close()
        self._stpt.close()
        self._stream.close()

    def _queue_stage1(self, crops_rgb: np.ndarray, P_crop: np.ndarray, view_mask: np.ndarray) -> Sizes:
        hands, views = view_mask.shape
        self._check(hands, views)
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

    def _check(self, hands: int, views: int) -> None:
        least, most = self._views
        if not least <= views <= most:
            raise UserError(f"{self.name}: {views} views, but the engine takes {least} to {most}.")
        if not 1 <= hands <= MOST_HANDS:
            raise UserError(f"{self.name}: {hands} hands, but the engine takes 1 to {MOST_HANDS}.")
