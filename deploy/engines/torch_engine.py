"""The reference engine: the checkpoint's own network under torch, on the CPU or on an NVIDIA GPU."""

from collections.abc import Iterable

import numpy as np
import torch

from deploy.engines.protocol import Clouds, CloudWindow, EngineShape, Refined
from models.network.ust_hand import draw_latents
from models.training.checkpoint import load_checkpoint

LATENTS_SEED = 7
"""Of the draws that all engines share."""
_MOST_VIEWS = 8


class TorchEngine:
    """`checkpoint` is a path or `shipped`. Raises UserError where it cannot be read."""

    def __init__(self, checkpoint: str) -> None:
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        network, _ = load_checkpoint(checkpoint)
        self._network = network.to(self._device)
        config = network.config
        self.name = f"torch {torch.__version__} on {self._device}"
        self.shape = EngineShape(config.crop_px, config.hypotheses, config.frames, config.width)
        self._latents = draw_latents(config, 1, _MOST_VIEWS, LATENTS_SEED).to(self._device)

    def prepare(self, hands: Iterable[int], views: int) -> None:
        """Nothing is made ready: torch takes any size as it comes."""

    @torch.inference_mode()
    def lift(self, crops_rgb: np.ndarray, P_crop: np.ndarray, view_mask: np.ndarray) -> Clouds:
        hands, views = view_mask.shape
        latents = self._latents[:, :, :views].expand(hands, -1, -1, -1)
        found = self._network.stage1(self._tensor(crops_rgb), self._tensor(P_crop), self._tensor(view_mask), latents)
        return Clouds(*(getattr(found, name).float().cpu().numpy() for name in Clouds._fields))

    @torch.inference_mode()
    def refine(self, window: CloudWindow) -> Refined:
        refined = self._network.stpt(*(self._tensor(array) for array in window))
        joints_m = refined.queries_m[:, -1, -1]
        return Refined(joints_m.float().cpu().numpy(), refined.covariance_m2.float().cpu().numpy())

    def close(self) -> None:
        pass

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)
