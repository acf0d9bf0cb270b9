"""What a network and its peers say of the newest frame of each window of a data set."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from calibration.hand import Definition
from models.data.windows import WindowDataset
from models.hand.bone_lengths import BoneLengths
from models.hand.definition import convert
from models.hand.fit import are_usable
from models.hand.pose_prior import as_a_hand
from models.hand.seen_points import towards_points, triangulate_points
from models.network.lifting import triangulate
from models.network.ust_hand import UstHand, draw_latents

METHODS = {
    "ust_hand": "UST-Hand",
    "ust_hand_as_a_hand": "the same as a person's hand",
    "stage1_mode": "stage 1's mode, without STPT",
    "dlt_heatmaps": "DLT of stage 1's heatmaps",
    "dlt_labels": "DLT of the pseudo-labels",
}
OF_THE_NETWORK = ("ust_hand", "stage1_mode", "dlt_heatmaps", "dlt_labels")
"""What each window alone gives; `ust_hand_as_a_hand` is what is made of a hand's windows in order, as in use."""
_BATCH = 16
_SEED = 20
_OUTSIDE_M = 0.5


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Windows (n) with their number in the data set. Joints (n, 21, 3) in hand-centred metres, by method of METHODS,
    all in the definition of the truth (models/hand/definition.py).

    `covariance_m2` (n, 21, 3, 3) is UST-Hand's. `keypoint_error` and `label_error` are the distances, as shares of the
    crop's side, of stage 1's keypoints and of the labels to the truth's projection, over the views and joints that have
    one. `widest_deg` (n,) is the widest angle between two views' directions to the hand. A joint that fewer than two
    views have a label of has no DLT: there the labels' DLT holds NaN.
    """

    number: np.ndarray
    truth_m: np.ndarray
    joints_m: dict[str, np.ndarray]
    covariance_m2: np.ndarray
    keypoint_error: np.ndarray
    label_error: np.ndarray
    widest_deg: np.ndarray


@torch.no_grad()
def predict(network: UstHand, data: WindowDataset, numbers: np.ndarray, views: int, workers: int = 0) -> Predictions:
    """Run the network and its peers on the windows `numbers` (n,), each with at most `views` views."""
    network.eval()
    keys = [(int(number), 0, views) for number in numbers]
    loader = DataLoader(data, batch_sampler=list(_chunks(keys)), num_workers=workers)  # type: ignore[arg-type]
    latents = draw_latents(network.config, 1, views, _SEED)
    parts = [_predict_batch(network, batch, latents, data.labels_definition) for batch in loader]
    joints = {name: _concatenated([part["joints"][name] for part in parts]) for name in OF_THE_NETWORK}
    joined = {name: _concatenated([part[name] for part in parts]) for name in parts[0] if name != "joints"}
    given_m = _as_hands(data, numbers, joined)
    joints["ust_hand_as_a_hand"] = convert(given_m, network.config.definition, "anatomical")
    return Predictions(
        number=np.asarray(numbers),
        truth_m=joined["truth"],
        joints_m=joints,
        covariance_m2=joined["covariance"],
        keypoint_error=joined["keypoint"],
        label_error=joined["label"],
        widest_deg=joined["widest"],
    )


def _predict_batch(network: UstHand, batch: dict[str, Tensor], latents: Tensor, of_labels: Definition) -> dict:
    count, crop_px = len(batch["crops_rgb"]), network.config.crop_px
    names = ("crops_rgb", "P_crop", "view_mask", "origins_m", "frame_mask")
    out = network(*(batch[name] for name in names), latents.expand(count, -1, -1, -1))
    T = batch["frame_mask"].shape[1]
    stage1 = {
        name: getattr(out.stage1, name).unflatten(0, (count, T))[:, -1] for name in ("keypoints_px", "confidence")
    }
    mode_m = out.stage1.queries_m.unflatten(0, (count, T))[:, -1]
    P, mask, truth = batch["P_crop"][:, -1], batch["view_mask"][:, -1], batch["joints_m"][:, -1]
    labels_px, trust = batch["labels_px"][:, -1], batch["label_confidence"][:, -1]
    definition = network.config.definition
    joints = {
        "ust_hand": _converted(out.joints_m, definition, "anatomical"),
        "stage1_mode": _converted(mode_m, definition, "anatomical"),
        "dlt_heatmaps": _converted(
            _dlt(stage1["keypoints_px"], stage1["confidence"] * mask[..., None], P, crop_px), definition, "anatomical"
        ),
        "dlt_labels": _converted(_dlt(labels_px, trust, P, crop_px), of_labels, "anatomical"),
    }
    seen_px = _projected(_converted(truth, "anatomical", definition), P, mask)
    labelled_px = _projected(_converted(truth, "anatomical", of_labels), P, mask)
    keypoint = (stage1["keypoints_px"] - seen_px).norm(dim=-1) / crop_px
    label = (labels_px - labelled_px).norm(dim=-1) / crop_px
    return {
        "joints": joints,
        "truth": truth,
        "given": out.joints_m,
        "covariance": out.covariance_m2,
        "views": mask.sum(1),
        "keypoint": keypoint[mask].flatten(),
        "label": label[trust > 0],
        "widest": widest_angle_deg(P, mask),
        **({"points": _points_m(**stage1, P_crop=P, mask=mask)} if network.config.landmarks else {}),
    }


def _points_m(keypoints_px: Tensor, confidence: Tensor, P_crop: Tensor, mask: Tensor) -> Tensor:
    """Joints (n, J, 3) from each window's 2D points alone, of the views that it has."""
    arrays = (each.double().numpy() for each in (P_crop, keypoints_px, confidence))
    by_window = zip(*arrays, mask.numpy(), strict=True)
    return torch.from_numpy(np.stack([triangulate_points(P[m], px[m], sure[m]) for P, px, sure, m in by_window]))


def _as_hands(data: WindowDataset, numbers: np.ndarray, joined: dict[str, np.ndarray]) -> np.ndarray:
    """The network's joints (n, 21, 3) with the bones that are learnt along each hand's windows, and poses of a hand;
    where `points` are given, half-way to those.

    Crops of left hands are mirrored, so that all hands are right ones here.
    """
    bones: dict[tuple[int, int], BoneLengths] = {}
    given_m = joined["given"].copy()
    for index, number in enumerate(numbers):
        of_hand = bones.setdefault(data.place(int(number)).sequence, BoneLengths())
        joints_m, covariance_m2 = given_m[index], joined["covariance"][index]
        if are_usable(joints_m) and np.isfinite(covariance_m2).all():
            of_hand.add(joints_m)
            views = int(joined["views"][index])
            if "points" in joined:
                joints_m = towards_points(joints_m, joined["points"][index], views)
            given_m[index], _ = as_a_hand(joints_m, covariance_m2, views, of_hand)
    return given_m


def _projected(joints_m: Tensor, P_crop: Tensor, mask: Tensor) -> Tensor:
    """Crop pixels (n, V, J, 2) of joints (n, J, 3)."""
    homogeneous = torch.einsum("nvab,njb->nvja", P_crop[..., :3], joints_m) + P_crop[:, :, None, :, 3]
    return homogeneous[..., :2] / torch.where(mask[..., None, None], homogeneous[..., 2:], 1.0)


def _converted(joints_m: Tensor, source: Definition, target: Definition) -> Tensor:
    """Joints (n, J, 3) in another definition of the keypoints."""
    return torch.from_numpy(convert(joints_m.double().numpy(), source, target)).float()


def widest_angle_deg(P_crop: Tensor, view_mask: Tensor) -> Tensor:
    """The widest angle (n,), degrees, between the directions from the crops' target to two of the cameras.

    P_crop (n, V, 3, 4), of the views in view_mask (n, V). A camera's centre c is where P (c, 1) is zero.
    """
    square = torch.where(view_mask[..., None, None], P_crop[..., :3], torch.eye(3)).double()
    directions = torch.linalg.solve(square, -P_crop[..., 3].double())
    directions = torch.where(view_mask[..., None], directions / directions.norm(dim=-1, keepdim=True), torch.nan)
    cosines = torch.einsum("nvi,nwi->nvw", directions, directions).nan_to_num(1.0)
    return torch.rad2deg(cosines.clamp(-1, 1).acos().amax((1, 2)))


def _dlt(points_px: Tensor, weights: Tensor, P_crop: Tensor, crop_px: int) -> Tensor:
    """Confidence-weighted DLT (n, J, 3) of points (n, V, J, 2); NaN where fewer than two views have weight."""
    joints = triangulate(points_px.transpose(1, 2), weights.transpose(1, 2), P_crop[:, None], crop_px)
    known = ((weights > 0).sum(1) >= 2)[..., None] & (joints.abs() < _OUTSIDE_M).all(-1, keepdim=True)
    return torch.where(known, joints, torch.nan)


def _chunks(keys: list) -> Iterator[list]:
    for start in range(0, len(keys), _BATCH):
        yield keys[start : start + _BATCH]


def _concatenated(parts: list[Tensor]) -> np.ndarray:
    return torch.cat(parts).double().numpy()
