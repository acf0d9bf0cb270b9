"""The reference engine: the checkpoint's own network under torch, on the CPU or on an NVIDIA GPU."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import Tensor

from deploy.batches import Clouds, CloudWindow, EngineShape, Refined, empty_crops, empty_window
from deploy.engines.cloud_rings import CloudRings
from models.network.checkpoint import load_checkpoint
from models.network.config import MAX_VIEWS
from models.network.stage1 import Stage1Output
from models.network.stpt import SpatiotemporalPointTransformer
from models.network.ust_hand import draw_latents

LATENTS_SEED = 7
"""Of the draws that all engines share."""
_WARM_UP = 3


def with_first_spatial(found: Stage1Output, stpt: SpatiotemporalPointTransformer) -> Stage1Output:
    """Stage 1's clouds with features as the ring keeps them, after what the transformer does within one frame."""
    return found._replace(
        anchor_features=stpt.apply_first_spatial(found.anchors_m, found.anchor_features),
        query_features=stpt.apply_first_spatial(found.queries_m, found.query_features),
    )


class TorchEngine:
    """`checkpoint` is a path or `shipped`, `device` torch's name of one, without it a GPU where there is one.

    On a GPU the sizes that it is prepared for are captured as CUDA graphs.

    Raises UserError where the checkpoint cannot be read.
    """

    def __init__(self, checkpoint: str, device: str | None = None) -> None:
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        network, _ = load_checkpoint(checkpoint)
        self._network = network.to(self._device)
        config = network.config
        self.name = f"torch {torch.__version__} on {self._device}"
        self.shape = EngineShape.of(config)
        self._latents = draw_latents(config, 1, MAX_VIEWS, LATENTS_SEED).to(self._device)
        self._graphs: dict[tuple, _Graph] = {}

    @torch.inference_mode()
    def prepare(self, hands: Iterable[int], views: int) -> None:
        """Nothing is made ready on the CPU: torch takes any size as it comes."""
        if self._device.type != "cuda":
            return
        for count in hands:
            crops = empty_crops(count, views, self.shape.crop_px)
            for network, arrays in ((self._run_stage1, crops), (self._refine, empty_window(self.shape, count))):
                given = [self._tensor(array) for array in arrays]
                self._graphs[_key(network, given)] = _Graph(network, given)

    @torch.inference_mode()
    def run_stage1(self, crops_rgb: np.ndarray, P_crop: np.ndarray, view_mask: np.ndarray) -> Clouds:
        return Clouds(*self._run(self._run_stage1, (crops_rgb, P_crop, view_mask)))

    @torch.inference_mode()
    def refine(self, window: CloudWindow) -> Refined:
        return Refined(*self._run(self._refine, window))

    def make_rings(self, hands: int, lock: AbstractContextManager) -> CloudRings:
        return CloudRings(self, hands, lock)

    def close(self) -> None:
        self._graphs.clear()

    def _run_stage1(self, crops_rgb: Tensor, P_crop: Tensor, view_mask: Tensor) -> list[Tensor]:
        hands, views = view_mask.shape
        latents = self._latents[:, :, :views].expand(hands, -1, -1, -1)
        found = with_first_spatial(self._network.stage1(crops_rgb, P_crop, view_mask, latents), self._network.stpt)
        return [getattr(found, name).float() for name in Clouds._fields]

    def _refine(self, *window: Tensor) -> list[Tensor]:
        refined = self._network.stpt(*window, first_spatial_applied=True)
        return [refined.queries_m[:, -1, -1].float(), refined.covariance_m2.float()]

    def _run(self, network: Callable[..., list[Tensor]], arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        given = [self._tensor(array) for array in arrays]
        graph = self._graphs.get(_key(network, given))
        return [tensor.cpu().numpy() for tensor in (graph or network)(*given)]

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)


class _Graph:
    """A network captured for inputs of one size; what it returns changes when it is called again."""

    def __init__(self, network: Callable[..., list[Tensor]], examples: list[Tensor]) -> None:
        self._given, self._graph = examples, torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                network(*examples)
        torch.cuda.current_stream().wait_stream(stream)
        with torch.cuda.graph(self._graph):
            self._found = network(*examples)

    def __call__(self, *given: Tensor) -> list[Tensor]:
        for own, new in zip(self._given, given, strict=True):
            own.copy_(new)
        self._graph.replay()
        return self._found


def _key(network: Callable, given: list[Tensor]) -> tuple:
    return network.__name__, *(tuple(tensor.shape) for tensor in given)
