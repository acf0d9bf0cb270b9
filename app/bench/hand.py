"""Speed and accuracy of the hand's fit, beside a general solver on the same joints."""

import time

import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from app.worker.statistics import rounded
from calibration.rotations import make_transform, rotation_from_vector
from models.hand.bone_lengths import HOLD_AFTER
from models.hand.builtin import BuiltinHand
from models.hand.fit import PoseFit
from models.hand.fitter import HandFitter
from models.hand.shape import MEAN_SHAPE
from models.hand.skeleton import LIMITS_RAD
from models.simulation.motion import HandMotion

_FPS = 30.0
_REFERENCE_FRAMES = 20


def bench(frames: int, noise_m: float = 0.003, seed: int = 0) -> dict:
    """One hand through `frames` frames, its joints with Gaussian noise of `noise_m` along each axis.

    Milliseconds a frame of one core: the fit with lengths still learnt and held, posing the mesh, and scipy's bounded
    least squares from the same start; and how far the joints are from the truth before and after the fit.
    """
    random = np.random.default_rng(seed)
    model, motion = BuiltinHand("right"), HandMotion(seed, "right")
    truth = [
        model.joints(motion.angles_rad(t), motion.T_world_hand(t), MEAN_SHAPE)
        for t in np.arange(HOLD_AFTER + frames) / _FPS
    ]
    noisy = [joints + random.normal(0, noise_m, joints.shape) for joints in truth]
    fitter = HandFitter("right")
    fits, fit_ms, pose_ms = [], [], []
    for joints in noisy:
        start = time.thread_time()
        fit = fitter.fit(joints)
        fit_ms.append((time.thread_time() - start) * 1e3)
        assert fit is not None
        fits.append(fit)
        start = time.thread_time()
        model.pose(fit.angles_rad, fit.T_world_hand, fitter.shape)
        pose_ms.append((time.thread_time() - start) * 1e3)
    held = slice(HOLD_AFTER, None)
    lengths = fitter.bones.lengths_m
    chosen = range(HOLD_AFTER, HOLD_AFTER + min(frames, _REFERENCE_FRAMES))
    peers = [_reference(model, noisy[k], lengths, fits[k - 1]) for k in chosen]
    reference_ms = float(np.median([ms for ms, _ in peers]))
    ours_m, theirs_m = (
        float(
            np.mean(
                [np.linalg.norm(joints - noisy[k], axis=1).mean() for k, joints in zip(chosen, results, strict=True)]
            )
        )
        for results in ([fits[k].joints_world_m for k in chosen], [joints for _, joints in peers])
    )
    errors = {
        name: 1e3 * float(np.linalg.norm(np.array(joints[held]) - np.array(truth[held]), axis=-1).mean())
        for name, joints in (("noisy", noisy), ("fitted", [fit.joints_world_m for fit in fits]))
    }
    fit_held_ms = float(np.median(fit_ms[held]))
    return {
        "frames": frames,
        "noise_mm": 1e3 * noise_m,
        "fit_ms": rounded(fit_held_ms, 3),
        "fit_ms_p99": rounded(float(np.percentile(fit_ms[held], 99)), 3),
        "fit_learning_ms": rounded(float(np.median(fit_ms[:HOLD_AFTER])), 3),
        "pose_ms": rounded(float(np.median(pose_ms[held])), 3),
        "scipy_ms": rounded(reference_ms, 3),
        "times_faster_than_scipy": rounded(reference_ms / fit_held_ms, 3),
        "residual_mm": {"fit": rounded(1e3 * ours_m, 3), "scipy": rounded(1e3 * theirs_m, 3)},
        "error_mm": {name: rounded(value, 3) for name, value in errors.items()},
        "nearer": rounded(1 - errors["fitted"] / errors["noisy"], 3),
    }


def _reference(
    model: BuiltinHand, joints: np.ndarray, lengths_m: np.ndarray, last: PoseFit
) -> tuple[float, np.ndarray]:
    """scipy's time in ms and its joints (21, 3), from the pose of the frame before."""
    shape = np.append(lengths_m, 1.0)

    def posed(x: np.ndarray) -> np.ndarray:
        return model.joints(x[6:], make_transform(rotation_from_vector(x[:3]), x[3:6]), shape)

    start = time.thread_time()
    rotation = Rotation.from_matrix(last.T_world_hand[:3, :3]).as_rotvec()
    first = np.concatenate(
        [rotation, last.T_world_hand[:3, 3], np.clip(last.angles_rad, *(LIMITS_RAD.T + [[1e-6], [-1e-6]]))]
    )
    low, high = (
        np.concatenate([np.full(6, sign * np.inf), bound]) for sign, bound in zip((-1, 1), LIMITS_RAD.T, strict=True)
    )
    solved = least_squares(lambda x: (posed(x) - joints).ravel(), first, bounds=(low, high), xtol=1e-4, ftol=1e-4)
    return (time.thread_time() - start) * 1e3, posed(solved.x)
