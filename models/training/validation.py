"""Validation during training: 2D error against held-out labels and, where the truth is known, 3D error.

The truth is read here alone; nothing of it reaches a loss.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from models.evaluation.metrics import coverage, joint_errors_mm
from models.network.lifting import triangulate
from models.network.ust_hand import UstHand, draw_latents
from models.training.config import LossConfig
from models.training.step import INPUTS, to_device, window_losses

_LATENT_SEED = 1


@torch.no_grad()
def validate(
    model: UstHand,
    batches: Iterable[Mapping[str, Tensor]],
    losses: LossConfig,
    device: torch.device,
    stage1_only: bool = False,
) -> dict[str, float]:
    """Figures of the newest frames, by name.

    `loss` and `projection` (share of the crop's side) always; of batches with truth the errors in mm of the result
    (`mpjpe_mm`), of stage 1's mode, of the DLT of its heatmaps and of the DLT of the labels, and the share of true
    joints inside the 50 % and the 90 % ellipsoid.
    """
    sums: dict[str, list[float]] = {}
    joints: dict[str, list[np.ndarray]] = {}
    for batch in batches:
        inputs = to_device(batch, device)
        size, views = inputs["view_mask"].shape[0], inputs["view_mask"].shape[2]
        latents = draw_latents(model.config, size, views, _LATENT_SEED).to(device)
        parts = window_losses(model, inputs, latents, losses, stage1_only)
        for name in ("total", "projection"):
            sums.setdefault(name, []).append(float(parts[name]))
        if "joints_m" in batch:
            for name, value in _joints(model, inputs, latents).items():
                joints.setdefault(name, []).append(value)
            joints.setdefault("truth", []).append(batch["joints_m"][:, -1].numpy())
    figures = {name: float(np.mean(values)) for name, values in sums.items()}
    known = np.concatenate([np.isfinite(each).all((1, 2)) for each in joints.get("truth", [])] or [np.zeros(0, bool)])
    if known.any():
        found = {name: np.concatenate(values)[known] for name, values in joints.items()}
        truth = found.pop("truth")
        covariance_m2 = found.pop("covariance")
        figures |= {f"{name}_mm": float(joint_errors_mm(each, truth).mean()) for name, each in found.items()}
        held = coverage(found["mpjpe"], truth, covariance_m2)
        figures |= {f"within_{100 * level:.0f}": share for level, share in held.items()}
    return figures


def _joints(model: UstHand, inputs: Mapping[str, Tensor], latents: Tensor) -> dict[str, np.ndarray]:
    """Newest joints (B, J, 3) by the name of their metric, and their covariance."""
    output = model(*(inputs[name] for name in INPUTS), latents)
    B, T = inputs["frame_mask"].shape
    size_px, P_crop = model.config.crop_px, inputs["P_crop"][:, -1]
    heatmap_px, confidence, queries_m = (
        each.unflatten(0, (B, T))[:, -1]
        for each in (output.stage1.keypoints_px, output.stage1.confidence, output.stage1.queries_m)
    )

    def dlt(keypoints_px: Tensor, weights: Tensor) -> Tensor:
        weights = weights * inputs["view_mask"][:, -1, :, None]
        return triangulate(keypoints_px.transpose(1, 2), weights.transpose(1, 2), P_crop[:, None], size_px)

    found = {
        "mpjpe": output.joints_m,
        "stage1_mode": queries_m,
        "stage1_dlt": dlt(heatmap_px, confidence),
        "labels_dlt": dlt(inputs["labels_px"][:, -1], inputs["label_confidence"][:, -1]),
        "covariance": output.covariance_m2,
    }
    return {name: each.float().cpu().numpy() for name, each in found.items()}
