"""`python -m models.data.elsewhere SESSION OUT`: crops of a recorded session's images in which no hand is.

As large and turned as the crops of the hands that the same camera sees, in images whose labelled hands are as many as
the camera sees at most, so that none was overlooked; no joint of a hand lies in them. They are a crop cache without
labels, from which it is learned what is no hand: arms, faces, furniture (models/training/presence.py).
"""

import argparse
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from calibration.errors import UserError
from calibration.hand import JOINTS
from calibration.programs import exit_code
from calibration.session import Session, check_session
from models.data.crop_cache import MARGIN, CacheManifest, check_new, single_crops, write_manifest, write_shard
from models.files.labels import Labels, read_labels
from models.hand.upright import Square, square_around

_CACHED_PX = 280
_OF_IMAGE = 3
_SHARD = 2048  # crops, which are held in memory
_TRIES = 40
_MOST_OUTSIDE = 0.2
"""Of a crop may lie outside of the image: a hand's at the border does, too."""
_SEED = 33


def crops_elsewhere(session: Session, labels: Labels) -> Iterator[np.ndarray]:
    """Crops (280, 280, 3) RGB, up to three of each image."""
    random = np.random.default_rng(_SEED)
    for view, camera_id in enumerate(session.camera_ids):
        offset_ns = session.rig.cameras[view].time_offset_ns
        of_view = np.flatnonzero(labels.camera == view)
        if not len(of_view):
            continue
        squares = [square_around(labels.keypoints_px[row].astype(np.float64)) for row in of_view]
        times, counts = np.unique(labels.time_ns[of_view], return_counts=True)
        usable = set(times[counts == counts.max()].tolist())
        video = session.open_video(camera_id)
        for time_ns in session.frame_times_ns(camera_id).tolist():
            if not video.grab():
                break
            known = next((each for each in (time_ns, time_ns - offset_ns) if each in usable), None)
            image = video.retrieve() if known is not None else None
            if image is None:
                continue
            hands_px = labels.keypoints_px[of_view[labels.time_ns[of_view] == known]].reshape(-1, 2)
            for _ in range(_OF_IMAGE):
                affine = _draw(image.shape[:2], squares, hands_px, random)
                if affine is not None:
                    flags = cv2.INTER_AREA | cv2.WARP_INVERSE_MAP
                    yield np.ascontiguousarray(cv2.warpAffine(image, affine, (_CACHED_PX,) * 2, flags=flags)[..., ::-1])
        video.close()


def _draw(
    size: tuple[int, int], squares: list[Square], hands_px: np.ndarray, random: np.random.Generator
) -> np.ndarray | None:
    """The map (2, 3) from the cached crop's pixels to those of an image (height, width); None where none was found."""
    for _ in range(_TRIES):
        square = squares[random.integers(len(squares))]
        scale = MARGIN * square.side_px / _CACHED_PX
        cos, sin = scale * np.cos(square.angle_rad), scale * np.sin(square.angle_rad)
        turn = np.array([[cos, -sin], [sin, cos]])
        centre_px = random.uniform(0, 1, 2) * [size[1], size[0]]
        affine = np.column_stack([turn, centre_px - turn @ np.full(2, (_CACHED_PX - 1) / 2)])
        corners = centre_px + square.side_px / 2 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) @ (turn / scale).T
        low, high = corners.min(0), corners.max(0)
        inside = (
            np.clip(np.minimum(high, [size[1], size[0]]) - np.maximum(low, 0), 0, None).prod() / (high - low).prod()
        )
        own = (hands_px - centre_px) @ turn / (scale * _CACHED_PX / 2)
        if inside >= 1 - _MOST_OUTSIDE and (np.abs(own) > 1).any(1).all():
            return affine
    return None


def cache_elsewhere(path: Path, out: Path) -> int:
    """Write the cache; returns how many crops it has. Raises UserError where the session has no labels, or no room."""
    check_new(out)
    session = check_session(path)
    labels = read_labels(session.path / "labels.npz", len(session.camera_ids))
    crops, count = crops_elsewhere(session, labels), 0
    for index, some in enumerate(iter(lambda: list(itertools.islice(crops, _SHARD)), [])):
        unlabelled = np.zeros((len(some), JOINTS, 2)), np.zeros((len(some), JOINTS))
        write_shard(out, index, single_crops(np.stack(some), *unlabelled))
        count += len(some)
    if not count:
        raise UserError(f"{path}: no image has room beside its hands. Give a session of a wider view.")
    write_manifest(out, CacheManifest(size_px=_CACHED_PX, views=1, source="elsewhere", definition=labels.definition))
    return count


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m models.data.elsewhere")
    parser.add_argument("session", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()

    def run() -> int:
        sys.stdout.write(f"{args.out}: {cache_elsewhere(args.session, args.out)} crops\n")
        return 0

    return exit_code(run)


if __name__ == "__main__":
    sys.exit(main())
