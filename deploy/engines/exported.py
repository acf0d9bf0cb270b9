"""What the engines of an engine directory share: a runtime brings a way to load an ONNX file, the rest is here."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from calibration.errors import UserError
from deploy.engines.protocol import Clouds, CloudWindow, EngineShape, Refined
from deploy.manifest import read_file, read_manifest

Network = Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]
"""Inputs by name to outputs in order; the outputs are the caller's."""


class ExportedEngine:
    """The networks of `directory`, loaded by `load` from the content of an ONNX file.

    Raises UserError where the directory is not as it was exported, see `deploy.manifest`.
    """

    def __init__(self, directory: Path, name: str, load: Callable[[bytes], Network]) -> None:
        manifest = read_manifest(directory)
        stage1, stpt, latents = (
            read_file(directory, manifest, file) for file in ("stage1.onnx", "stpt.onnx", "latents.npy")
        )
        config = manifest.network
        self.name = name
        self.shape = EngineShape(config.crop_px, config.hypotheses, config.frames, config.width)
        self._views = manifest.views
        self._latents = np.load(io.BytesIO(latents), allow_pickle=False)
        self._stage1, self._stpt = load(stage1), load(stpt)

    def lift(self, crops_rgb: np.ndarray, P_crop: np.ndarray, view_mask: np.ndarray) -> Clouds:
        hands, views = view_mask.shape
        least, most = self._views
        if not least <= views <= most:
            raise UserError(f"{self.name}: {views} views, but the engine takes {least} to {most}.")
        given = {
            "crops_rgb": np.ascontiguousarray(crops_rgb),
            "P_crop": np.ascontiguousarray(P_crop, np.float32),
            "view_mask": np.ascontiguousarray(view_mask),
            "latents": np.repeat(self._latents[:, :, :views], hands, axis=0),
        }
        return Clouds(*self._stage1(given))

    def refine(self, window: CloudWindow) -> Refined:
        return Refined(*self._stpt({name: np.ascontiguousarray(each) for name, each in window._asdict().items()}))

    def close(self) -> None:
        pass
