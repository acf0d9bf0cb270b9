"""Pictures to learn from: each hand cut out of every view that shows its place, kept as a crop cache.

A view in which the detector missed the hand shows it all the same: there the others teach. Each session is a shard;
beside it `crops_NUMBER.npz` says of each crop (L) its `hand` and `view`, and `crop_from_normal` (L, 3, 3), which maps
normalised coordinates of its camera to its pixels.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from app.adaptation.footage import Footage
from app.adaptation.teacher import Keypoints, Taught
from app.labelling.stretch import Stretch
from calibration.errors import UserError
from calibration.frames import FrameSet
from calibration.hand import JOINTS, hand_size_px
from calibration.rig import Rig
from calibration.written_files import errors_naming
from models.data.crop_cache import MARGIN, CacheManifest, Shard, shard_path, write_manifest, write_shard
from models.files.npyfile import write_npy
from models.files.npzfile import read_npz, write_npz
from models.hand.crop import hand_box, hand_turn
from models.hand.crop_light import well_lit
from models.hand.upright import is_in_front, make_upright_crop

IMAGE_PX = 224
_NEAREST_M = 0.05
_NS = 1e-9
_STD_OF_SIZE = 0.036
_HALF_TRUST_M = 0.008


class CropPlaces(NamedTuple):
    """Of L crops."""

    hand: np.ndarray
    view: np.ndarray
    crop_from_normal: np.ndarray


@dataclass(kw_only=True)
class _Cut:
    hand: int
    view: int
    crop_from_normal: np.ndarray
    P_crop: np.ndarray
    target_m: np.ndarray


def cut_crops(
    cache: Path,
    number: int,
    views: int,
    footage: Footage,
    hands: Stretch,
    taught: Taught,
    progress: Callable[[], object],
) -> None:
    """Write the crops of all hands whose joints are known as shard `number` of the cache, whose sessions have at most
    so many `views`. Raises UserError where there is none."""
    rig, size_px = footage.rig, round(MARGIN * IMAGE_PX)
    cuts: list[_Cut] = []
    cache.mkdir(parents=True, exist_ok=True)
    # Of many cameras they are more than fits into memory.
    pictures = cache / f".pictures_{number}"
    try:
        with errors_naming(pictures), pictures.open("wb") as stream:
            for frame_set in footage.learning_sets():
                for cut, image_rgb in _of_set(rig, frame_set, hands, taught, size_px):
                    cuts.append(cut)
                    stream.write(image_rgb.tobytes())
                progress()
        if not cuts:
            raise UserError(f"{footage.session.path}: no hand lies inside of the images. Is rig.yaml its calibration?")
        places = CropPlaces(
            np.array([cut.hand for cut in cuts], int),
            np.array([cut.view for cut in cuts], int),
            np.stack([cut.crop_from_normal for cut in cuts]),
        )
        write_npz(_places_path(cache, number), places._asdict())
        crops_rgb = np.memmap(pictures, np.uint8, "r", shape=(len(cuts), size_px, size_px, 3))
        write_shard(cache, number, _shard(views, hands, cuts, crops_rgb))
    finally:
        pictures.unlink(missing_ok=True)
    write_manifest(cache, CacheManifest(size_px=size_px, views=views, source="session", definition="detector"))


def read_places(cache: Path, number: int) -> CropPlaces:
    return CropPlaces(**read_npz(_places_path(cache, number), "what crops show", "Start the adaptation again."))


def _places_path(cache: Path, number: int) -> Path:
    return cache / f"crops_{number}.npz"


def _of_set(
    rig: Rig, frame_set: FrameSet, hands: Stretch, taught: Taught, size_px: int
) -> Iterator[tuple[_Cut, np.ndarray]]:
    for hand in np.flatnonzero(hands.time_ns == frame_set.reference_time_ns):
        joints_m, right = taught.joints_m[hand], bool(hands.right[hand])
        if not np.isfinite(joints_m).all():
            continue
        target_m, _ = hand_box(joints_m)
        for view, camera in enumerate(rig.cameras):
            frame = frame_set.frames.get(camera.camera_id)
            if frame is None:
                continue
            lag_s = (frame.capture_time_ns - frame_set.reference_time_ns) * _NS
            there_m = joints_m + lag_s * taught.velocity_m_s[hand]
            if not (_in_image(camera, there_m) and is_in_front(camera, target_m, there_m)):
                continue
            crop = make_upright_crop(camera, target_m, there_m, size_px, not right, MARGIN)
            P_crop = crop.P_crop.copy()
            turn = hand_turn(not right)
            P_crop[:, 3] += P_crop[:, :3] @ (turn @ (lag_s * taught.velocity_m_s[hand].mean(0)))
            image_rgb = cv2.cvtColor(well_lit(crop.image(frame.pixels)), cv2.COLOR_BGR2RGB)
            # The crop itself would keep its map of the image, which is larger than its picture.
            place = crop.H_crop_cam
            yield _Cut(hand=int(hand), view=view, crop_from_normal=place, P_crop=P_crop, target_m=target_m), image_rgb


def _in_image(camera, joints_m: np.ndarray) -> bool:
    """Whether the hand is in front of the camera, and its middle and most of its joints are in the image."""
    depth_m = joints_m @ camera.T_cam_world[2, :3] + camera.T_cam_world[2, 3]
    if depth_m.min() < _NEAREST_M:
        return False
    pixels = camera.project(joints_m)
    limit = camera.camera.width, camera.camera.height
    inside = ((pixels >= 0) & (pixels < limit)).all(1)
    return bool(inside.mean() > 0.8)


def _shard(views: int, hands: Stretch, cuts: list[_Cut], crops_rgb: np.ndarray) -> Shard:
    """A frame for each hand of each set, in the order of the hands of a track, and a sequence for each track."""
    numbers = np.unique([cut.hand for cut in cuts])
    order = numbers[np.lexsort((hands.time_ns[numbers], hands.track[numbers]))]
    frame_of = {int(hand): frame for frame, hand in enumerate(order)}
    rows = np.full((len(order), views), -1)
    targets_m = np.zeros((len(order), 3))
    for row, cut in enumerate(cuts):
        frame = frame_of[cut.hand]
        rows[frame, cut.view] = row
        targets_m[frame] = cut.target_m * (1.0 if hands.right[cut.hand] else -1.0, 1.0, 1.0)
    tracks = np.unique(hands.track[order], return_inverse=True)[1]
    return Shard(
        crops_rgb=crops_rgb,
        P_crop=np.stack([cut.P_crop for cut in cuts]).astype(np.float32),
        labels_px=np.zeros((len(cuts), JOINTS, 2), np.float32),
        label_confidence=np.zeros((len(cuts), JOINTS), np.float32),
        rows=rows.astype(np.int32),
        sequence=tracks.astype(np.int32),
        time_ns=hands.time_ns[order],
        targets_m=targets_m,
    )


def label_crops(cache: Path, number: int, rig: Rig, hands: Stretch, taught: Taught, teaches: np.ndarray) -> None:
    """Write the labels of a shard of `cut_crops`: where each crop shows what is taught, for the hands that `teaches`
    (H,) names; the confidence falls to a half where a joint is known to eight millimetres only."""
    places = read_places(cache, number)
    labels_px = np.zeros((len(places.hand), JOINTS, 2), np.float32)
    confidence = np.zeros((len(places.hand), JOINTS), np.float32)
    std_m = np.sqrt(np.einsum("hjaa->hj", taught.covariance_m2) / 3)
    trust = 1 / (1 + (std_m / _HALF_TRUST_M) ** 2)
    for view, camera in enumerate(rig.cameras):
        of_view = np.flatnonzero(places.view == view)
        hand = places.hand[of_view]
        lag_s = (hands.frame_time_ns[hand, view] - hands.time_ns[hand]) * _NS
        there_m = taught.joints_m[hand] + lag_s[:, None, None] * taught.velocity_m_s[hand]
        rays = there_m @ camera.T_cam_world[:3, :3].T + camera.T_cam_world[:3, 3]
        px = np.einsum("nab,njb->nja", places.crop_from_normal[of_view], rays)
        with np.errstate(divide="ignore", invalid="ignore"):
            px = px[..., :2] / px[..., 2:]
        known = np.isfinite(px).all(-1) & np.isfinite(trust[hand]) & teaches[hand][:, None]
        labels_px[of_view] = np.where(known[..., None], px, 0)
        confidence[of_view] = np.where(known, trust[hand], 0)
    for name, array in (("labels_px", labels_px), ("label_confidence", confidence)):
        path = shard_path(cache, number) / f"{name}.npy"
        temporary = path.with_name(f".{path.name}")
        try:
            write_npy(temporary, array)
            temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)


def to_image(rig: Rig, hands: Stretch, places: CropPlaces, points_px: np.ndarray, presence: np.ndarray) -> Keypoints:
    """Points (L, 21, 2) that a network found in the crops, and its presence (L,), as keypoints of the images."""
    px = np.zeros((len(hands), len(rig.cameras), JOINTS, 2))
    std_px, seen = np.ones(px.shape[:3]), np.zeros(px.shape[:2], bool)
    rays = np.concatenate([points_px, np.ones((*points_px.shape[:2], 1))], -1)
    rays = np.einsum("nab,njb->nja", np.linalg.inv(places.crop_from_normal), rays)
    # A point's ray points away from the camera, whichever sign the map has.
    rays *= np.sign(rays[..., 2:])
    for view, camera in enumerate(rig.cameras):
        of_view = np.flatnonzero((places.view == view) & (presence >= 0.5))
        found = camera.camera.project(rays[of_view])
        known = np.isfinite(found).all((1, 2))
        hand = places.hand[of_view[known]]
        px[hand, view], seen[hand, view] = found[known], True
        for each, keypoints_px in zip(hand, found[known], strict=True):
            std_px[each, view] = _STD_OF_SIZE * max(hand_size_px(keypoints_px), 1.0)
    return Keypoints(px, std_px, seen)
