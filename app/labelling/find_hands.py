"""Hands found in a session by an estimator, stretch after stretch, each of which is kept once it is whole.

The estimator begins anew in every stretch, so that a run which was interrupted and goes on gives the same labels.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np

from app.assembly.read_ahead import ReadAhead
from app.assembly.recorded_sets import recorded_phases_of, recorded_rig, recorded_sets
from app.estimators.detectors.remembered import RememberedDetector
from app.estimators.estimator import Estimate
from app.labelling.label_sources import LabelSource
from app.labelling.stretch import Stretch, empty_hands
from calibration.errors import UserError
from calibration.frames import FrameSet
from calibration.hand import hand_size_px
from calibration.rig import Rig
from calibration.session import Session

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class StretchSettings:
    """`sets`: in a stretch, which is what an interrupt can cost: about a minute on two cores. `ahead`: sets that are
    decoded while one is looked at. `std_of_size`: the error of keypoints of which the estimator says none, as a share
    of the hand's size in the image (that of MediaPipe's)."""

    sets: int = 500
    ahead: int = 2
    std_of_size: float = 0.036


def find_hands(
    session: Session,
    source: LabelSource,
    folder: Path,
    progress: Callable[[int], object] = lambda sets: None,
    settings: StretchSettings | None = None,
    chosen: Iterator[FrameSet] | None = None,
) -> Stretch:
    """All hands of the session, or of the sets of it that were `chosen`.

    Stretches are kept in `folder`, and those that are there are not looked at again.

    `progress` is called with the number of sets that were done. Raises OSError where `folder` cannot be written.
    """
    settings = settings or StretchSettings()
    folder.mkdir(parents=True, exist_ok=True)
    rig = recorded_rig(session)
    if chosen is None:
        chosen = recorded_sets(session, rig, recorded_phases_of(session, rig))
    sets = ReadAhead(chosen, settings.ahead)
    parts: list[Stretch] = []
    try:
        while (part := _stretch(sets, folder, len(parts), rig, source, settings, progress)) is not None:
            parts.append(part)
    finally:
        sets.close()
        with suppress(OSError):  # where there are parts, the next time goes on with them
            folder.rmdir()
    if not parts:
        raise UserError(f"{session.path}: its videos have no frames. Record or import the session again.")
    return Stretch.join(parts)


def _stretch(
    sets: Iterator[FrameSet],
    folder: Path,
    number: int,
    rig: Rig,
    source: LabelSource,
    settings: StretchSettings,
    progress: Callable[[int], object],
) -> Stretch | None:
    """The next stretch, from its file where there is one; None at the session's end."""
    path = folder / f"{number:05d}.npz"
    if path.is_file():
        try:
            part = Stretch.read(path)
        except (UserError, TypeError) as error:
            log.warning("%s; it is made again", error)
        else:
            passed = sum(1 for _ in islice(sets, settings.sets))
            progress(passed)
            return part
    first = next(sets, None)
    if first is None:
        return None
    part = _look(chain([first], islice(sets, settings.sets - 1)), rig, source, settings, progress)
    part.write(path)
    return part


def _look(
    sets: Iterator[FrameSet],
    rig: Rig,
    source: LabelSource,
    settings: StretchSettings,
    progress: Callable[[int], object],
) -> Stretch:
    detector = source.detector
    found_before, seconds_before = detector.found.copy(), detector.seconds
    images = dict.fromkeys(rig.camera_ids, 0)
    rows: list[dict[str, np.ndarray]] = []
    count = with_hand = unmatched = 0
    estimator = source.make(rig)
    try:
        for frame_set in sets:
            detector.forget()
            estimate = estimator.estimate(frame_set)
            rows.append(_rows(frame_set, estimate, rig, detector, settings))
            for camera_id in frame_set.frames:
                images[camera_id] += 1
            count += 1
            with_hand += bool(estimate.hands)
            unmatched += max(0, estimate.detections - estimate.detections_used)
            progress(1)
    finally:
        estimator.close()
    return Stretch(
        **{name: np.concatenate([each[name] for each in rows]) for name in rows[0]},
        sets=np.array([count]),
        sets_with_hand=np.array([with_hand]),
        unmatched=np.array([unmatched]),
        images=np.array([images[name] for name in rig.camera_ids]),
        found=np.array([detector.found[name] - found_before[name] for name in rig.camera_ids]),
        detector_s=np.array([detector.seconds - seconds_before]),
        definition=np.array([estimator.definition]),
    )


def _rows(
    frame_set: FrameSet, estimate: Estimate, rig: Rig, detector: RememberedDetector, settings: StretchSettings
) -> dict[str, np.ndarray]:
    """The hands of one set."""
    rows = empty_hands(len(estimate.hands), len(rig.cameras))
    rows["time_ns"][:] = frame_set.reference_time_ns
    for index, hand in enumerate(estimate.hands):
        rows["track"][index], rows["right"][index] = hand.track_id, hand.side == "right"
        rows["joints_m"][index] = hand.joints_world_m
        for view, camera_id in enumerate(rig.camera_ids):
            if camera_id in frame_set.frames:
                rows["frame_time_ns"][index, view] = frame_set.frames[camera_id].capture_time_ns
            keypoints_px = hand.detections_px.get(camera_id)
            if keypoints_px is None:
                continue
            said = detector.detection_of(keypoints_px)
            rows["seen"][index, view] = True
            rows["keypoints_px"][index, view] = keypoints_px
            std_px = settings.std_of_size * max(hand_size_px(keypoints_px), 1.0) if said is None else said.std_px
            rows["std_px"][index, view] = std_px
            rows["presence"][index, view] = 1.0 if said is None else said.presence
    return rows
