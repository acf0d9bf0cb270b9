"""Labels of a session: hands found in all views, each keypoint judged by the other views, written as `labels.npz`."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from app.estimators.seen_check import check_seen
from app.labelling.agreement import Agreement, view_agreement
from app.labelling.find_hands import LabelSource, StretchSettings, find_hands
from app.labelling.stretch import Stretch
from app.worker.statistics import rounded
from calibration.errors import UserError
from calibration.found_files import read_found, remove_folder
from calibration.plain_json import parse_json
from calibration.rig_backup import keep_backup
from calibration.session import Session
from calibration.written_files import write_atomic
from models.files.labels import Labels, read_labels, write_labels

log = logging.getLogger(__name__)

_VERSION = 1
"""Of how labels are made: those of another version are made again."""
_PARTS = ".labelling-"


@dataclass(frozen=True, kw_only=True)
class LabelSettings:
    """What is no label. `least_confidence`: a joint below it has none, which is an error of seven times what the
    detector's usually is. A view of a hand needs `least_joints` of at least `agreeing_confidence`, else it shows
    something else; a hand needs `least_views`."""

    least_confidence: float = 0.02
    agreeing_confidence: float = 0.1
    least_joints: int = 8
    least_views: int = 2


def label_session(
    session: Session,
    source: LabelSource,
    progress: Callable[[int], object] = lambda sets: None,
    stretches: StretchSettings | None = None,
) -> dict[str, Any]:
    """Write the session's `labels.npz` and, beside it, `labels.json`, its summary, which is returned.

    Labels that were made of the same videos, calibration and source are left as they are. Others are kept as
    `labels.npz.bak-DATE`. Raises UserError where no hand is seen, or in one view only, or no two views agree; OSError
    where nothing can be written.
    """
    path, views = session.path / "labels.npz", len(session.rig.cameras)
    made_of = _made_of(session, source.made_by)
    if (summary := _made_before(path, views, made_of)) is not None:
        log.info("%s: is labelled already", session.path)
        progress(summary["sets"])
        return summary
    for other in session.path.glob(f"{_PARTS}*"):
        if other.name != f"{_PARTS}{made_of}":
            remove_folder(other)
    began = time.perf_counter()
    parts = session.path / f"{_PARTS}{made_of}"
    hands = find_hands(session, source, parts, progress, stretches)
    agreement = view_agreement(session.rig, hands)
    labels, dropped = _labels(hands, agreement, LabelSettings())
    if not len(labels):
        remove_folder(parts)
        raise _no_labels(session, hands)
    labels = replace(
        labels,
        source=source.name,
        definition=source.definition or hands.joint_definition,
        rig_id=session.rig.rig_id,
        made_of=made_of,
    )
    summary = _summary(session, hands, labels, dropped, agreement)
    summary["seconds"] = rounded(time.perf_counter() - began)
    backup = keep_backup(path)
    write_atomic(path.with_suffix(".json"), json.dumps(summary, indent=1, allow_nan=False).encode())
    write_labels(path, labels, views)
    if backup is not None:
        log.info("%s: the labels before are kept as %s", session.path, backup.name)
    remove_folder(parts)
    return summary


def _made_of(session: Session, made_by: str) -> str:
    """What labels depend on, as 12 hexadecimal digits."""
    digest = hashlib.sha256(f"{_VERSION} {session.rig.rig_id} {made_by}".encode())
    digest.update(read_found(session.path / "frames.csv"))
    for camera_id in session.camera_ids:
        video = session.video_path(camera_id).stat()
        digest.update(f"{camera_id} {video.st_size} {video.st_mtime_ns}".encode())
    return digest.hexdigest()[:12]


def _made_before(path: Path, views: int, made_of: str) -> dict[str, Any] | None:
    """The summary of labels that are there and were made of the same."""
    try:
        if read_labels(path, views).made_of != made_of:
            return None
        summary = parse_json(read_found(path.with_suffix(".json")))
    except (UserError, OSError, ValueError):
        return None
    return summary if isinstance(summary, dict) and summary.get("made_of") == made_of else None


def _no_labels(session: Session, hands: Stretch) -> UserError:
    """Why there are none, though two views see hands; raises it where they do not."""
    check_seen(str(session.path), dict(zip(session.camera_ids, hands.found.tolist(), strict=True)))
    return UserError(
        f"{session.path}: no two views agree on a hand. Is rig.yaml the calibration of this recording? Calibrate with "
        "`usthand calibrate --session`, or check it with `usthand calibrate --check`."
    )


def _labels(hands: Stretch, agreement: Agreement, settings: LabelSettings) -> tuple[Labels, Mapping[str, int]]:
    """The rows that are left, and how many hands, views of hands and joints are not, for each reason."""
    confidence = np.where(agreement.confidence >= settings.least_confidence, agreement.confidence, 0.0)
    good = (confidence >= settings.agreeing_confidence).sum(-1) >= settings.least_joints
    contradicted = hands.seen & ~good
    lonely = good.sum(1) < settings.least_views
    kept = good & ~lonely[:, None]
    hand, view = np.nonzero(kept)
    order = np.lexsort((~hands.right[hand], view, hands.frame_time_ns[hand, view]))
    hand, view = hand[order], view[order]
    labels = Labels(
        camera=view.astype(np.int16),
        time_ns=hands.frame_time_ns[hand, view],
        right=hands.right[hand],
        keypoints_px=hands.keypoints_px[hand, view].astype(np.float32),
        confidence=confidence[hand, view].astype(np.float32),
        source="",
    )
    dropped = {
        "detections_without_second_view": int(hands.unmatched[0]),
        "views_contradicted": int(contradicted.sum()),
        "hands_without_two_agreeing_views": int(lonely.sum()),
        "joints_without_label": int((labels.confidence == 0).sum()),
    }
    return labels, dropped


def _summary(
    session: Session, hands: Stretch, labels: Labels, dropped: Mapping[str, int], agreement: Agreement
) -> dict[str, Any]:
    residual_px = agreement.residual_px[np.isfinite(agreement.residual_px)]
    return {
        "session": str(session.path),
        "labels": len(labels),
        "source": labels.source,
        "definition": labels.definition,
        "rig_id": labels.rig_id,
        "made_of": labels.made_of,
        "sets": int(hands.sets[0]),
        "sets_with_hand": int(hands.sets_with_hand[0]),
        "hands": len(hands),
        "cameras": {
            name: {
                "images": int(hands.images[view]),
                "labels": int((labels.camera == view).sum()),
                "contradicted": rounded(_share_below(labels.confidence[labels.camera == view])),
            }
            for view, name in enumerate(session.camera_ids)
        },
        "dropped": dict(dropped),
        "confidence_mean": rounded(float(labels.confidence.mean())),
        "residual_px_median": rounded(float(np.median(residual_px))) if len(residual_px) else None,
        "detector_seconds": rounded(float(hands.detector_s[0])),
    }


def _share_below(confidence: np.ndarray) -> float | None:
    """The share of joints that the other views contradict."""
    return float((confidence < LabelSettings().agreeing_confidence).mean()) if confidence.size else None
