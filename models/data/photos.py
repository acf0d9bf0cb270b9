"""Photographs and films of real hands, labelled by the landmark network itself, as a crop cache of single views.

    python -m models.data.photos WEIGHTS OUT --video FILE.mp4 [--every N]
    python -m models.data.photos WEIGHTS OUT --images FOLDER --labels mediapipe_labels.npz [--every N]

There is one camera and no calibration, so nothing is learned of depth; what is learned is how far the network's points
are off on a worse picture of the same hand (models/data/sightings.py), and not to correct what needs no correction. An
image is a still of five frames. `labels` holds `image` (N,), files in FOLDER, `keypoints_px` (N, 21, 2),
`handedness_mirrored_view` and `disagreement` (N,), as MediaPipe found them. A video's hand is followed from its first
keypoints on.
"""

import argparse
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

from calibration.errors import UserError, reason_of
from calibration.hand import JOINTS
from calibration.programs import exit_code
from models.data.crop_cache import MARGIN, CacheManifest, Shard, check_new, join, write_manifest, write_shard
from models.files.npyfile import read_npy
from models.files.npzfile import read_npz
from models.hand.upright import Square, square_around
from models.network.landmark_net import IMAGE_PX, LandmarkNet, read_landmark_net

log = logging.getLogger(__name__)

FRAMES = 5
_CACHED_PX = 280
_MOST_DISAGREEMENT = 0.04
_LEAST_LOGIT = 3.0
_DISTANCE_M, _CROP_M = 0.6, 0.22
_SHARD = 400
_LABELS = {"image": (), "keypoints_px": (JOINTS, 2), "handedness_mirrored_view": (), "disagreement": ()}
_LABELS_ADVICE = f"Give a file with {', '.join(_LABELS)}, as MediaPipe found them."


class _Reader:
    """Crops of images, and what the network says of them; hands are mirrored to right ones where they are left."""

    def __init__(self, network: LandmarkNet, mirror: bool) -> None:
        self._network, self._mirror = network.eval(), mirror

    def look(self, image_bgr: np.ndarray, keypoints_px: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Better keypoints (21, 2) in the image, and the cached crop around them; None where there is no hand."""
        for _ in range(2):
            crop, image_from_crop = self._cut(image_bgr, square_around(keypoints_px), IMAGE_PX, 1.0)
            with torch.inference_mode():
                found = self._network(torch.from_numpy(crop[None]))
            if float(found.presence_logit[0]) < _LEAST_LOGIT:
                return None
            points_px = found.image[0, :, :2].double().numpy()
            keypoints_px = points_px @ image_from_crop[:, :2].T + image_from_crop[:, 2]
        cached, self.image_from_cached = self._cut(image_bgr, square_around(keypoints_px), _CACHED_PX, MARGIN)
        return keypoints_px, cached

    def to_cached(self, keypoints_px: np.ndarray) -> np.ndarray:
        inverse = cv2.invertAffineTransform(self.image_from_cached)
        return keypoints_px @ inverse[:, :2].T + inverse[:, 2]

    def _cut(self, image_bgr: np.ndarray, square: Square, size_px: int, margin: float) -> tuple[np.ndarray, np.ndarray]:
        """The RGB crop, mirrored for a left hand, and the affine map (2, 3) from its pixels to the image's."""
        scale = margin * square.side_px / size_px
        cos, sin = scale * np.cos(square.angle_rad), scale * np.sin(square.angle_rad)
        turn = np.array([[cos, -sin], [sin, cos]])
        if self._mirror:
            turn = turn @ np.diag([-1.0, 1.0])
        shift_px = square.centre_px - turn @ np.full(2, (size_px - 1) / 2)
        affine = np.hstack([turn, shift_px[:, None]]).astype(np.float64)
        flags = (cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP
        crop = cv2.warpAffine(image_bgr, affine, (size_px, size_px), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return np.ascontiguousarray(crop[..., ::-1]), affine


def of_images(network: LandmarkNet, folder: Path, labels: Path, every: int) -> Iterator[Shard]:
    """A shard of each image, which stays for five frames. Raises UserError for an image, or labels, that are none."""
    known = read_npz(labels, "labels of photographs", _LABELS_ADVICE, _LABELS)
    if missing := [name for name in _LABELS if name not in known]:
        raise UserError(f"{labels}: no `{missing[0]}`. {_LABELS_ADVICE}")
    count = known["image"].shape[:1]
    for name, end in _LABELS.items():
        if known[name].shape != (*count, *end):
            raise UserError(
                f"{labels}: `{name}` has shape {known[name].shape}, expected {(*count, *end)}. {_LABELS_ADVICE}"
            )
    for number in np.flatnonzero(known["disagreement"] < _MOST_DISAGREEMENT)[::every]:
        path = folder / str(known["image"][number])
        image = cv2.imread(str(path))
        if image is None:
            raise UserError(f"{path}: cannot be read as an image.")
        right = known["handedness_mirrored_view"][number] == "Left"
        keypoints_px = known["keypoints_px"][number].astype(np.float64)
        reader = _Reader(network, not right)
        found = reader.look(image, keypoints_px)
        if found is not None:
            yield _shard([found[1]], [reader.to_cached(found[0])], still=True)


def of_video(network: LandmarkNet, video: Path, keypoints_px: np.ndarray, right: bool, every: int) -> Iterator[Shard]:
    """Shards of runs of frames, `every`-th each, in which the hand is followed from its first keypoints (21, 2).

    Raises UserError for a file that is no video.
    """
    capture = cv2.VideoCapture(str(video)) if video.is_file() else None
    if capture is None or not capture.isOpened():
        raise UserError(f"{video}: cannot be read as a video.")
    reader = _Reader(network, not right)
    crops: list[np.ndarray] = []
    points: list[np.ndarray] = []
    number = 0
    while True:
        whole, image = capture.read()
        if not whole:
            break
        number += 1
        if number % every:
            continue
        found = reader.look(image, keypoints_px)
        if found is None:
            continue
        keypoints_px = found[0]
        crops.append(found[1])
        points.append(reader.to_cached(keypoints_px))
        if len(crops) == _SHARD:
            yield _shard(crops, points, still=False)
            crops, points = [], []
    capture.release()
    if crops:
        yield _shard(crops, points, still=False)


def _shard(crops: list[np.ndarray], points: list[np.ndarray], still: bool) -> Shard:
    """One hand's frames, or one frame five times."""
    focal_px = _CACHED_PX * _DISTANCE_M / (MARGIN * _CROP_M)
    middle_px = (_CACHED_PX - 1) / 2
    K = np.array([[focal_px, 0, middle_px], [0, focal_px, middle_px], [0, 0, 1]])
    P_crop = K @ np.column_stack([np.eye(3), [0, 0, _DISTANCE_M]])
    rows = np.zeros(FRAMES, int) if still else np.arange(len(crops))
    return Shard(
        crops_rgb=np.stack(crops),
        P_crop=np.repeat(P_crop[None], len(crops), 0).astype(np.float32),
        labels_px=np.stack(points).astype(np.float32),
        label_confidence=np.ones((len(crops), 21), np.float32),
        rows=rows[:, None].astype(np.int32),
        sequence=np.zeros(len(rows), np.int32),
        time_ns=np.arange(len(rows)) * 100_000_000,
        targets_m=np.zeros((len(rows), 3)),
    )


def write(out: Path, shards: Iterator[Shard], source: str) -> int:
    """The cache; returns how many crops it has. Raises UserError where no hand was found, or a cache is there."""
    check_new(out)
    waiting: list[Shard] = []
    count = index = 0
    for shard in shards:
        waiting.append(shard)
        if sum(len(each.crops_rgb) for each in waiting) >= _SHARD:
            write_shard(out, index, join(waiting))
            count, index, waiting = count + sum(len(each.crops_rgb) for each in waiting), index + 1, []
    if waiting:
        write_shard(out, index, join(waiting))
        count += sum(len(each.crops_rgb) for each in waiting)
    if not count:
        raise UserError(f"{source}: no hand is found in it. Give pictures of a hand that fills a part of the image.")
    write_manifest(
        out,
        CacheManifest(size_px=_CACHED_PX, views=1, source="photos", definition="detector", settings={"photos": source}),
    )
    return count


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m models.data.photos")
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--video", type=Path)
    parser.add_argument("--first", type=Path, help="of a video: keypoints (21, 2) of its first frame, a .npy file")
    parser.add_argument("--left", action="store_true", help="the video shows a left hand")
    source.add_argument("--images", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--every", type=int, default=1)
    args = parser.parse_args()
    if args.every < 1:
        parser.error(f"--every {args.every}: 1 or more")
    for given, needed in (("video", "first"), ("images", "labels")):
        if getattr(args, given) and not getattr(args, needed):
            parser.error(f"--{given} needs --{needed}")
    return exit_code(lambda: run(args), place=args.out)


def run(args: argparse.Namespace) -> int:
    network = read_landmark_net(args.weights)
    if args.video:
        shards = of_video(network, args.video, _first_keypoints_px(args.first), not args.left, args.every)
    else:
        shards = of_images(network, args.images, args.labels, args.every)
    count = write(args.out, shards, (args.video or args.images).name)
    sys.stdout.write(f"{args.out}: {count} crops\n")
    return 0


def _first_keypoints_px(path: Path) -> np.ndarray:
    """(21, 2). Raises UserError where the file has no such array."""
    try:
        keypoints_px = read_npy(path)
        if keypoints_px.shape != (JOINTS, 2) or not np.isfinite(keypoints_px).all():
            raise ValueError(f"{keypoints_px.shape}, expected {(JOINTS, 2)} finite numbers")
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{path}: no keypoints ({reason_of(error)}). Give a .npy file with those of the video's first frame."
        ) from None
    return keypoints_px.astype(np.float64)


if __name__ == "__main__":
    sys.exit(main())
