"""How the simulated detector's errors compare with a real detector's on a recorded session.

Where no truth is known, each keypoint is compared with its joint triangulated without that view. The hands that the
real detector gives are then taken for the truth, the simulated detector labels them in the same views, and its
labels go through the same comparison. Of a rendered session the real detector's own residuals say how real the pictures
are to it, joint by joint.
"""

from dataclasses import dataclass

import numpy as np

from app.bench.live import read_sets
from app.bench.self_occlusion import hidden_by_own_hand
from app.estimators import make_estimator
from app.estimators.detectors.remembered import RememberedDetector
from app.estimators.estimator import Hand
from app.estimators.multiview.estimator import MultiViewEstimator
from app.worker.statistics import rounded
from calibration.errors import UserError
from calibration.frames import FrameSet
from calibration.hand import hand_size_px
from calibration.rig import Rig, RigCamera
from calibration.session import Session
from calibration.triangulation import Observations, triangulate_without_each
from models.simulation.detector_noise import GRADES, NoiseGrade, detect

_CONFIDENCE_BINS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_STD_OF_SIZE = 0.036
_SIMULATED_FPS = 30


@dataclass
class _Residuals:
    """Leave-one-out residuals (n, 21) in pixels, the size of the hand in the image (n,), the confidence (n, 21)."""

    px: np.ndarray
    size_px: np.ndarray
    confidence: np.ndarray

    def summary(self) -> dict:
        share = self.px / self.size_px[:, None]
        of_hand = np.median(share, axis=1)
        bins = np.digitize(self.confidence, _CONFIDENCE_BINS[1:-1])
        filled = [index for index in range(len(_CONFIDENCE_BINS) - 1) if (bins == index).any()]
        return {
            "keypoints": int(self.px.size),
            "px": _quantiles(self.px),
            "percent_of_hand": _quantiles(100 * share),
            "percent_of_hand_median_by_joint": [rounded(100 * float(each), 3) for each in np.median(share, axis=0)],
            "percent_of_hand_of_whole_hands": _quantiles(100 * of_hand),
            "by_confidence": {
                f"{_CONFIDENCE_BINS[index]:g} to {_CONFIDENCE_BINS[index + 1]:g}": {
                    "share": rounded(float((bins == index).mean()), 3),
                    "percent_of_hand": _quantiles(100 * share[bins == index]),
                }
                for index in filled
            },
        }


def compare(session: Session, rig: Rig, phases_ns: dict[str, int] | None, estimator_name: str) -> dict:
    """Figures of the session's own detector and of the simulated grades; see the module and docs/labels.md.

    Raises UserError where no hand is found in three views.
    """
    sets, hands, remembered = _seen(session, rig, phases_ns, estimator_name)
    result: dict = {"sets": len(sets), "hands": len(hands), estimator_name: _measured(hands, remembered).summary()}
    steps = np.diff([frames.reference_time_ns for frames in sets])
    frames_per_set = max(1, round(float(np.median(steps)) * 1e-9 * _SIMULATED_FPS)) if len(steps) else 1
    for name, grade in GRADES.items():
        result[name] = _simulated(rig, hands, grade, frames_per_set).summary()
    return result


def own_residuals(session: Session, rig: Rig, phases_ns: dict[str, int] | None, estimator_name: str) -> dict:
    """The figures of the session's own detector alone. Raises UserError as `compare`."""
    sets, hands, remembered = _seen(session, rig, phases_ns, estimator_name)
    return {"sets": len(sets), "hands": len(hands)} | _measured(hands, remembered).summary()


def _seen(
    session: Session, rig: Rig, phases_ns: dict[str, int] | None, estimator_name: str
) -> tuple[list[FrameSet], list[tuple[int, Hand]], RememberedDetector]:
    """The frame sets, the hands in them that three views show, and what the detector said."""
    estimator = make_estimator(estimator_name, rig)
    assert isinstance(estimator, MultiViewEstimator)
    detector = estimator.detector
    estimator.detector = remembered = RememberedDetector(detector)
    sets = read_sets(session, rig, phases_ns)
    hands = [(number, hand) for number, frames in enumerate(sets) for hand in estimator.estimate(frames).hands]
    estimator.close()
    detector.close()
    # Without a view two others must remain.
    hands = [(number, hand) for number, hand in hands if len(hand.detections_px) >= 3]
    if not hands:
        raise UserError(
            f"{session.path}: no hand was found in three views, which a comparison of views needs. Give a recording of "
            "three cameras or more that shows hands."
        )
    return sets, hands, remembered


def _measured(hands: list[tuple[int, Hand]], remembered: RememberedDetector) -> _Residuals:
    """What the estimator measured; its leave-one-out residuals are joint by joint, in the order of its detections."""
    px, size, confidence = [], [], []
    for _, hand in hands:
        keypoints = list(hand.detections_px.values())
        px.append(hand.leave_one_out_px.reshape(21, len(keypoints)).T)
        size += [float(hand_size_px(each)) for each in keypoints]
        said = [remembered.detection_of(each) for each in keypoints]
        confidence += [np.full(21, each.presence) for each in said if each is not None]
    return _Residuals(np.concatenate(px), np.array(size), np.array(confidence))


def _simulated(rig: Rig, hands: list[tuple[int, Hand]], grade: NoiseGrade, frames_per_set: int) -> _Residuals:
    """The residuals of a simulated detector in the views in which the real one found each hand."""
    parts = []
    for side in ("left", "right"):
        of_side = [(number, hand) for number, hand in hands if hand.side == side]
        if not of_side:
            continue
        joints_m = np.stack([hand.joints_world_m for _, hand in of_side])
        frames = np.array([number for number, _ in of_side]) * frames_per_set
        views = [
            _label(camera, joints_m, frames, [0, view, int(side == "left")], grade)
            for view, camera in enumerate(rig.cameras)
        ]
        matched = np.array([[camera in hand.detections_px for camera in rig.camera_ids] for _, hand in of_side])
        keypoints, confidence, found = (np.stack(each, axis=1) for each in zip(*views, strict=True))
        parts.append(_blind_residuals(rig.cameras, keypoints, confidence, matched & found))
    return _Residuals(*(np.concatenate([getattr(p, n) for p in parts]) for n in ("px", "size_px", "confidence")))


def _label(
    camera: RigCamera, joints_m: np.ndarray, frames: np.ndarray, seed: list[int], grade: NoiseGrade
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    hidden = hidden_by_own_hand(joints_m, camera.centre_world_m)
    said = detect(camera.project(joints_m), ~hidden, frames, seed, grade)
    return said.keypoints_px, said.confidence, said.found


def _blind_residuals(
    cameras: tuple[RigCamera, ...], keypoints_px: np.ndarray, confidence: np.ndarray, found: np.ndarray
) -> _Residuals:
    """Of keypoints (N, V, 21, 2) where `found` (N, V), against the joints triangulated without each view."""
    points = np.stack([each.camera.undistort(keypoints_px[:, v]) for v, each in enumerate(cameras)], axis=2)
    focal_px = np.array([each.camera.focal_px for each in cameras])
    size_px = hand_size_px(keypoints_px)
    seen = np.broadcast_to(found[:, None], points.shape[:3])
    std = np.broadcast_to((_STD_OF_SIZE * size_px / focal_px)[:, None], seen.shape)
    P = np.broadcast_to(np.stack([each.T_cam_world[:3] for each in cameras]), (*seen.shape, 3, 4))
    blind_m = triangulate_without_each(Observations(P, points, std, seen), 3)[:, 1:]
    blind_px = np.stack([each.project(blind_m[:, v]) for v, each in enumerate(cameras)], axis=1)
    residual_px = np.linalg.norm(blind_px - keypoints_px, axis=-1)
    whole = found & np.isfinite(residual_px).all(-1)
    return _Residuals(residual_px[whole], size_px[whole], confidence[whole])


def _quantiles(values: np.ndarray) -> dict[str, float | None]:
    return {f"p{q}": rounded(float(np.percentile(values, q)), 3) for q in (50, 75, 90, 99)}
