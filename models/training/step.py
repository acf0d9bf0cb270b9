"""One step's losses from a batch of windows. Of a batch only what the network sees and its 2D labels are taken."""

from collections.abc import Mapping

import torch
from torch import Tensor

from models.network.losses import (
    LabelBatch,
    covariance_loss,
    heatmap_loss,
    nll_loss,
    position_loss,
    projection_loss,
    spread_loss,
)
from models.network.ust_hand import UstHand
from models.training.config import LossConfig

INPUTS = ("crops_rgb", "P_crop", "view_mask", "origins_m", "frame_mask")
LABELS = ("labels_px", "label_confidence", "fused_px", "fused_confidence")
UNSEEN = (
    "unseen_P_crop", "unseen_labels_px", "unseen_confidence", "unseen_fused_px", "unseen_fused_confidence"
)  # fmt: skip


def to_device(batch: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """The inputs and the 2D labels of a batch; nothing else of it goes on."""
    names = (*INPUTS, *LABELS, *UNSEEN)
    return {name: batch[name].to(device, non_blocking=True) for name in names if name in batch}


def window_losses(
    model: UstHand, batch: Mapping[str, Tensor], latents: Tensor, config: LossConfig, stage1_only: bool = False
) -> dict[str, Tensor]:
    """The losses by the names of their weights, unweighted, and `total`, their weighted sum.

    The batch is that of models/data/windows.py, (B, T, V, ...). The queries of stage 1 are supervised as
    those of the blocks. Where the batch has fused labels, positions are learned from them; the covariance is learned
    from the detector's own, whose errors in different views are independent.
    """
    size_px = model.config.crop_px
    present = batch["view_mask"] & batch["frame_mask"][..., None]
    own = LabelBatch(batch["labels_px"], batch["label_confidence"] * present[..., None])
    labels = own
    if "fused_px" in batch:
        labels = LabelBatch(batch["fused_px"], batch["fused_confidence"] * present[..., None])
    frames = LabelBatch(*(each.flatten(0, 1) for each in labels))
    if stage1_only:
        found, refined, covariance_m2 = model.see(batch["crops_rgb"], batch["P_crop"], present, latents), None, None
    else:
        found, refined, covariance_m2 = model(*(batch[name] for name in INPUTS), latents)
    queries_m = found.queries_m.unflatten(0, present.shape[:2])[:, None]
    if refined is not None:
        queries_m = torch.cat([queries_m, refined], dim=1)
    P_crop, everywhere = _with_unseen(batch, labels, "unseen_fused" if "fused_px" in batch else "unseen")
    losses: dict[str, Tensor] = {}
    if found.heatmaps is not None:
        losses["heatmap"] = heatmap_loss(found.heatmaps, frames, size_px)
        losses["position"] = position_loss(found.keypoints_px, frames, config.huber, size_px)
    if found.log_spread is not None:
        losses["spread"] = spread_loss(found.keypoints_px, found.log_spread, frames, size_px)
    losses |= {
        "nll": nll_loss(model.stage1.pose_nll(found, *frames), frames),
        "projection": projection_loss(queries_m, P_crop, everywhere, config.huber, size_px),
    }
    if covariance_m2 is not None:
        newest = LabelBatch(*(each[:, -1] for each in _with_unseen(batch, own, "unseen")[1]))
        losses["covariance"] = covariance_loss(
            covariance_m2, queries_m[:, -1, -1], P_crop[:, -1], newest, model.label_noise, size_px
        )
    total = torch.stack([getattr(config, name) * loss for name, loss in losses.items()]).sum()
    return losses | {"total": total}


def _with_unseen(batch: Mapping[str, Tensor], labels: LabelBatch, kind: str) -> tuple[Tensor, LabelBatch]:
    """Cameras and labels of the views that the network saw and, where the batch has them, of those that it did not.

    The latter test the 3D of few views: with two, only another view tells how wrong the depth is. `kind` says which of
    the batch's labels they are: `unseen` or `unseen_fused`.
    """
    if "unseen_P_crop" not in batch:
        return batch["P_crop"], labels
    P_crop = torch.cat([batch["P_crop"], batch["unseen_P_crop"]], dim=2)
    keypoints_px = batch["unseen_labels_px" if kind == "unseen" else f"{kind}_px"]
    unseen = LabelBatch(keypoints_px, batch[f"{kind}_confidence"] * batch["frame_mask"][..., None, None])
    return P_crop, LabelBatch(*(torch.cat(both, dim=2) for both in zip(labels, unseen, strict=True)))
