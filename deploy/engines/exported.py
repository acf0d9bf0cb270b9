"""What the engines of an engine directory share: a runtime brings a way to load an ONNX file, the rest is here."""

import io
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import numpy as np

from calibration.errors import UserError
from deploy.artefact.manifest import read_file, read_manifest
from deploy.batches import Clouds, CloudWindow, EngineShape, Refined
from deploy.engines.cloud_rings import CloudRings

Shapes = Mapping[str, tuple[int, ...]]


class Network(Protocol):
    """Inputs by name to outputs in order, which may change with the next call."""

    def prepare(self, shapes: Shapes) -> None:
        """Get ready for inputs of these shapes, by name."""
        ...

    def __call__(self, given: Mapping[str, np.ndarray]) -> list[np.ndarray]: ...


class ExportedEngine:
    """The networks of `directory`, loaded by `load` from the content of an ONNX file.

    Raises UserError where the directory is not as it was exported, see `deploy.artefact.manifest`.
    """

    def __init__(self, directory: Path, name: str, load: Callable[[bytes], Network]) -> None:
        manifest = read_manifest(directory)
        stage1, stpt, latents = (
            read_file(directory, manifest, file) for file in ("stage1.onnx", "stpt.onnx", "latents.npy")
        )
        config = manifest.network
        self.name = name
        self.shape = EngineShape.of(config)
        self._manifest = manifest
        self._drawn = np.load(io.BytesIO(latents), allow_pickle=False)
        self._latents: dict[tuple[int, int], np.ndarray] = {}
        self._stage1, self._stpt = load(stage1), load(stpt)

    def prepare(self, hands: Iterable[int], views: int) -> None:
        self._check(views)
        for count in hands:
            for network, interface in ((self._stage1, self._manifest.stage1), (self._stpt, self._manifest.stpt)):
                network.prepare({spec.name: spec.sized(count, views) for spec in interface.inputs})

    def run_stage1(self, crops_rgb: np.ndarray, P_crop: np.ndarray, view_mask: np.ndarray) -> Clouds:
        hands, views = view_mask.shape
        self._check(views)
        if view_mask.shape not in self._latents:
            self._latents[hands, views] = np.repeat(self._drawn[:, :, :views], hands, axis=0)
        given = {
            "crops_rgb": np.ascontiguousarray(crops_rgb),
            "P_crop": np.ascontiguousarray(P_crop, np.float32),
            "view_mask": np.ascontiguousarray(view_mask),
            "latents": self._latents[hands, views],
        }
        return Clouds(*self._stage1(given))

    def refine(self, window: CloudWindow) -> Refined:
        return Refined(*self._stpt({name: np.ascontiguousarray(each) for name, each in window._asdict().items()}))

    def make_rings(self, hands: int, lock: AbstractContextManager) -> CloudRings:
        return CloudRings(self, hands, lock)

    def close(self) -> None:
        pass

    def _check(self, views: int) -> None:
        least, most = self._manifest.views
        if not least <= views <= most:
            raise UserError(f"{self.name}: {views} views, but the engine takes {least} to {most}.")
