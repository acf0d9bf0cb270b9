"""A recorded session with `labels.npz` turned into a crop cache: every video is decoded once, in order."""

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from calibration.cached_folder import cached_folder
from calibration.errors import UserError, pasted
from calibration.found_files import hash_found
from calibration.hand import JOINTS
from calibration.recorded_period import came_evenly, recorded_period_ns
from calibration.session import Session, check_session, read_session
from models.data.crop_cache import MARGIN, CacheManifest, Shard, check_new, join, write_manifest, write_shard
from models.data.hand_sequence import HandSequence, crops_of, to_shard
from models.files.labels import Labels, read_labels
from models.files.truth import Truth, read_truth
from models.hand.crop import Crop
from models.hand.crop_light import well_lit

log = logging.getLogger(__name__)

# Of a shard, which is held in memory as a whole: of all cameras together, and at least of each.
_SHARD_IMAGES, _LEAST_SHARD_FRAMES = 2048, 64
_FEWEST_FRAMES = 5
_MAY_LACK = 3


def cache_session(session_dir: Path, out: Path, size_px: int = 160, upright: bool = False) -> int:
    """Write the crops of a session's labelled hands to a new cache directory; returns how many crops there are.

    Frames of the cameras are matched by time, as `match_frames` does. A hand is followed
    while two views label it, with gaps of up to three frames. `truth.npz` is kept where the session has one. Raises
    UserError where the session or its labels do not fit, or no hand is labelled in two views for five frames.
    """
    session = check_session(session_dir)
    labels = read_labels(session.path / "labels.npz", len(session.camera_ids))
    if labels.rig_id not in ("", session.rig.rig_id):
        raise UserError(
            f"{session.path}: the labels were made with the calibration {labels.rig_id}, but rig.yaml is "
            f"{session.rig.rig_id}. Label the session again: `usthand label {pasted(session.path)}`."
        )
    truth_file = session.path / "truth.npz"
    truth = read_truth(truth_file, len(session.camera_ids)) if truth_file.is_file() else None
    if truth is not None and not set(truth.hands) <= {"left", "right"}:
        raise UserError(f"{session.path}: labels do not tell several people's hands apart. Take one person's session.")
    check_new(out)
    frames, times_ns = match_frames(session)
    hands = [(right, *_place_labels(session, labels, frames, right)) for right in (False, True)]
    images = _Videos(session)
    at_once = max(_LEAST_SHARD_FRAMES, _SHARD_IMAGES // len(session.camera_ids))
    crops = shards = 0
    try:
        for start in range(0, len(frames), at_once):
            part = slice(start, start + at_once)
            sequences = [
                (
                    HandSequence(
                        cameras=session.rig.cameras,
                        right=right,
                        time_ns=times_ns[part][run],
                        keypoints_px=keypoints_px[part][run],
                        confidence=sure[part][run],
                    ),
                    run,
                )
                for right, keypoints_px, sure in hands
                for run in _runs((sure[part] > 0).any(2).sum(1) >= 2)
            ]
            parts = _cut(images, frames[part], sequences, size_px, upright, truth)
            if parts:
                whole = join(parts)
                write_shard(out, shards, whole)
                crops, shards = crops + len(whole.crops_rgb), shards + 1
    finally:
        images.close()
    if not shards:
        raise UserError(
            f"{session.path}: no hand is labelled in two views for {_FEWEST_FRAMES} frames in a row, so there is "
            "nothing to learn from. Write better labels (docs/labels.md), or check the rig's calibration."
        )
    settings = {"session": session.name, "labels": labels.source, **_made_of(session.path, session.rig.rig_id)}
    write_manifest(
        out,
        CacheManifest(
            size_px=size_px,
            views=len(session.camera_ids),
            margin=MARGIN,
            truth=truth is not None,
            source="session",
            definition=labels.definition,
            settings=settings,
        ),
    )
    return crops


def cache_of(path: Path, size_px: int = 160, upright: bool = False) -> Path:
    """The crop cache at `path`, or that of the session at `path`, which is made where it is not there or out of date.

    Raises UserError as `cache_session` does.
    """
    if (path / "manifest.json").is_file():
        return path
    session = read_session(path)
    made_of = json.dumps(_made_of(session.path, session.rig.rig_id))
    key = hashlib.sha256(made_of.encode()).hexdigest()[:12]

    def make(folder: Path) -> None:
        log.info("%s: cutting out the labelled hands, once", session.path)
        cache_session(path, folder, size_px, upright)

    # Whole or not at all, since a training and an evaluation may both want it first.
    return cached_folder(
        session.path,
        f"crops_{size_px}{'_upright' * upright}",
        key,
        lambda folder: (folder / "manifest.json").is_file(),
        make,
    )


def _made_of(session: Path, rig_id: str) -> dict[str, str]:
    """What the crops depend on: the calibration and the labels."""
    file = session / "labels.npz"
    labels = hash_found(file)[:12] if file.is_file() else ""
    return {"rig_id": rig_id, "labels_sha256": labels}


def match_frames(session: Session) -> tuple[np.ndarray, np.ndarray]:
    """Frame numbers (N, V) of images taken together, -1 for none, and their capture times (N,) in nanoseconds.

    They are matched with those of the camera that has most, of which none came in bursts or twice where there is one.
    """
    times = [session.frame_times_ns(camera.camera_id) - camera.time_offset_ns for camera in session.rig.cameras]
    reference = max([each for each in times if came_evenly(each)] or times, key=len)
    tolerance_ns = (recorded_period_ns([reference]) or 0.0) / 2
    return np.stack([_nearest(each, reference, tolerance_ns) for each in times], axis=1), reference


def _nearest(times: np.ndarray, wanted: np.ndarray, tolerance: float) -> np.ndarray:
    """For each wanted time the index of the nearest of the rising `times`, -1 where it is farther than `tolerance`."""
    after = np.searchsorted(times, wanted)
    before = np.clip(after - 1, 0, len(times) - 1)
    after = np.minimum(after, len(times) - 1)
    nearest = np.where(np.abs(times[after] - wanted) < np.abs(times[before] - wanted), after, before)
    return np.where(np.abs(times[nearest] - wanted) <= tolerance, nearest, -1)


def _place_labels(session: Session, labels: Labels, frames: np.ndarray, right: bool) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (N, V, 21, 2) and confidence (N, V, 21) of one side; of two labels of one hand the surer one counts."""
    keypoints_px = np.zeros((*frames.shape, JOINTS, 2))
    confidence = np.zeros((*frames.shape, JOINTS))
    for view, camera in enumerate(session.rig.cameras):
        times = session.frame_times_ns(camera.camera_id) - camera.time_offset_ns
        of_view = np.flatnonzero((labels.camera == view) & (labels.right == right))
        period_ns = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
        numbers = _nearest(times, labels.time_ns[of_view], period_ns / 2)
        place = np.full(len(times) + 1, -1)
        place[frames[:, view]] = np.arange(len(frames))
        place[-1] = -1
        for row, frame in zip(of_view, place[numbers], strict=True):
            if frame >= 0 and labels.confidence[row].sum() > confidence[frame, view].sum():
                keypoints_px[frame, view], confidence[frame, view] = labels.keypoints_px[row], labels.confidence[row]
    return keypoints_px, confidence


def _runs(labelled: np.ndarray) -> Iterator[slice]:
    """Spans of frames that are labelled (N,), but for gaps of at most three, and long enough for a window."""
    found = np.flatnonzero(labelled)
    for run in np.split(found, np.flatnonzero(np.diff(found) > _MAY_LACK + 1) + 1):
        if len(run) and run[-1] - run[0] + 1 >= _FEWEST_FRAMES:
            yield slice(int(run[0]), int(run[-1]) + 1)


class _Videos:
    """The images of a session in lockstep, each video read forward only."""

    def __init__(self, session: Session) -> None:
        self._videos = [session.open_video(name) for name in session.camera_ids]
        self._next = [0] * len(self._videos)

    def read(self, view: int, frame: int) -> np.ndarray | None:
        """The image (H, W, 3) BGR; None where it cannot be decoded."""
        video = self._videos[view]
        while self._next[view] <= frame:
            self._next[view] += 1
            if not video.grab():
                return None
        return video.retrieve()

    def close(self) -> None:
        for video in self._videos:
            video.close()


def _cut(
    images: _Videos,
    frames: np.ndarray,
    sequences: list[tuple[HandSequence, slice]],
    size_px: int,
    upright: bool,
    truth: Truth | None,
) -> list[Shard]:
    """The shard of each sequence; `frames` (N, V) are those that the slices count."""
    planned = [crops_of(sequence, size_px, upright) for sequence, _ in sequences]
    cut: list[list[list[np.ndarray]]] = [[[] for _ in crops] for crops, _ in planned]
    for number, row in enumerate(frames):
        for view, frame in enumerate(row):
            wanted = [
                (index, number - run.start)
                for index, (_, run) in enumerate(sequences)
                if run.start <= number < run.stop and planned[index][0][number - run.start][view] is not None
            ]
            image = images.read(view, int(frame)) if wanted and frame >= 0 else None
            for index, at in wanted:
                crop: Crop | None = planned[index][0][at][view]
                if image is None or crop is None:
                    planned[index][0][at][view] = None
                else:
                    # A copy, which is not kept: its map of the image is larger than its picture.
                    picture = replace(crop).image(image)
                    cut[index][at].append(np.ascontiguousarray(well_lit(picture)[..., ::-1]))
    shards = []
    for (sequence, _), (crops, targets_m), pictures in zip(sequences, planned, cut, strict=True):
        joints_m = visible = None
        if truth is not None:
            joints_m, visible = _truth_of(truth, sequence)
        flat = [picture for row in pictures for picture in row]
        shard = to_shard(sequence, crops, targets_m, flat, joints_m, visible)
        if shard is not None:
            shards.append(shard)
    return shards


def _truth_of(truth: Truth, sequence: HandSequence) -> tuple[np.ndarray, np.ndarray]:
    """True joints (N, 21, 3), interpolated in time, and which are visible (N, V, 21); NaN and False where not known."""
    hand = truth.hands.get("right" if sequence.right else "left")
    frames, views = len(sequence.time_ns), len(sequence.cameras)
    if hand is None:
        return np.full((frames, JOINTS, 3), np.nan), np.zeros((frames, views, JOINTS), bool)
    at = np.interp(sequence.time_ns, truth.times_ns, np.arange(len(truth.times_ns)))
    before, share = np.floor(at).astype(int), (at % 1)[:, None, None]
    after = np.minimum(before + 1, len(truth.times_ns) - 1)
    joints_m = (1 - share) * hand.joints_world_m[before] + share * hand.joints_world_m[after]
    return joints_m, hand.visible[np.rint(at).astype(int)]
