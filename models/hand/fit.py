"""The pose of the built-in hand that comes nearest to 21 measured joints: damped least squares within limits.

Unknown are the global pose and the 21 angles; bone lengths are given. Each joint counts by its covariance. The start is
worked out from the joints themselves, bone by bone, unless the last frame's pose lies nearer.
K. Levenberg, "A method for the solution of certain non-linear problems in least squares", 1944; D. W. Marquardt, "An
algorithm for least-squares estimation of nonlinear parameters", 1963; angles at a limit that want to leave it are held.
"""

import logging
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from calibration.hand import Side
from calibration.rotations import make_transform
from models.hand import skeleton
from models.hand.angle_prior import AnglePrior
from models.hand.builtin import mirror_of, mirrored

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How a pose is fitted, and what is taken of the joints."""

    iterations: int = 8
    """Steps at most; most fits settle before."""
    settled_step: float = 1e-3
    """Done once no angle changes by so many radians and no length by a tenth of as many metres, 0.1 mm, ..."""
    settled_gain: float = 1e-3
    """... or once a step gains only this share of the cost."""
    default_sd_m: float = 0.003
    """Of a joint's coordinate where no covariance is known: about what several views leave."""
    smallest_sd_m: float = 0.0005
    largest_sd_m: float = 0.1
    """Deviations are held between these two, so that no joint decides alone and none makes the system singular."""
    farthest_m: float = 1e4
    """Joints farther from the world's origin are no measurement."""


FIT = FitSettings()

_WHITEN_DEFAULT = np.broadcast_to(np.eye(3) / FIT.default_sd_m, (21, 3, 3))
_PALM_JOINTS = np.array([0, 1, 5, 9, 13, 17])
_JOINT_NUMBERS = np.arange(21)
# Hinge i moves the joints beyond its own, up to its finger's tip.
_HINGE_JOINTS = skeleton.HINGE_JOINTS[:, None]
_MOVES = (_HINGE_JOINTS < _JOINT_NUMBERS) & ((_HINGE_JOINTS - 1) // 4 == (_JOINT_NUMBERS - 1) // 4)
CROSS = np.zeros((3, 3, 3))
for _i, _j, _k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
    CROSS[_i, _k, _j], CROSS[_i, _j, _k] = 1, -1
CROSS = CROSS.reshape(3, 9)
"""a @ CROSS is the matrix of the cross product with a, row by row."""
_LOW, _HIGH = skeleton.LIMITS_RAD.T
STEP_M = 0.1
"""Lengths in a step are in metres over this, so that they weigh about as much as angles."""


@dataclass(frozen=True, eq=False)
class PoseFit:
    """A pose fitted to measured joints."""

    angles_rad: np.ndarray
    """(21,), within skeleton.LIMITS_RAD."""
    T_world_hand: np.ndarray
    """(4, 4)"""
    joints_world_m: np.ndarray
    """(21, 3) of the posed hand."""
    rms_m: float
    """Root mean square distance of a joint to the measured one."""


def fit_pose(
    joints_world_m: np.ndarray,
    bone_lengths_m: np.ndarray,
    side: Side = "right",
    covariance_m2: np.ndarray | None = None,
    last: PoseFit | None = None,
    iterations: int = FIT.iterations,
    prior: AnglePrior | None = None,
) -> PoseFit | None:
    """The built-in hand's pose for joints (21, 3), bone lengths (20,) and the joints' covariance (21, 3, 3) if known.

    What is known of the angles before (`prior`) counts by its deviation, as the joints do by theirs.

    None where the joints fix no pose: they or their covariance are not finite, the palm's joints lie on a line, or what
    is solved for is singular.
    """
    try:
        return _fit_pose(joints_world_m, bone_lengths_m, side, covariance_m2, last, iterations, prior)
    except (ArithmeticError, np.linalg.LinAlgError) as error:
        log.warning("a hand is not fitted: %s", error)
        return None


def _fit_pose(
    joints_world_m: np.ndarray,
    bone_lengths_m: np.ndarray,
    side: Side,
    covariance_m2: np.ndarray | None,
    last: PoseFit | None,
    iterations: int,
    prior: AnglePrior | None,
) -> PoseFit | None:
    measured = np.asarray(joints_world_m, np.float64)
    if not are_usable(measured):
        return None
    whiten = _WHITEN_DEFAULT if covariance_m2 is None else whitening(covariance_m2)
    if whiten is None:
        return None
    # A left hand is fitted as the right hand that its mirror image is.
    mirror = mirror_of(side)
    measured = measured * mirror
    whiten = whiten * mirror

    palm = _palm_pose(measured, bone_lengths_m)
    if palm is None:
        return None
    rotation, origin = palm
    starts = [_State(_angles_from_bones(measured @ rotation), rotation, origin)]
    if last is not None:
        T = mirrored(last.T_world_hand, side)
        starts.append(_State(last.angles_rad, T[:3, :3], T[:3, 3]))
    aim = _Aim(bone_lengths_m, measured, whiten, prior)
    best = _minimise(min((_Evaluation(state, aim) for state in starts), key=lambda each: each.cost), aim, iterations)

    T_world_hand = mirrored(make_transform(best.state.rotation, best.state.origin), side)
    rms = float(np.sqrt(np.mean(np.sum((best.joints - measured) ** 2, axis=1))))
    return PoseFit(best.state.angles, T_world_hand, best.joints * mirror, rms)


def are_usable(joints_m: np.ndarray) -> bool:
    """Whether these are 21 points, all finite and within 10 km."""
    return joints_m.shape == (21, 3) and bool(np.abs(joints_m).max() < FIT.farthest_m)


@dataclass(frozen=True, eq=False)
class _State:
    angles: np.ndarray
    rotation: np.ndarray
    origin: np.ndarray

    def moved(self, step: np.ndarray) -> "_State":
        """Turned about the wrist by step[:3], shifted by step[3:6], bent by step[6:]."""
        return _State(
            np.minimum(np.maximum(self.angles + step[6:], _LOW), _HIGH),
            _rotation(step[:3]) @ self.rotation,
            self.origin + STEP_M * step[3:6],
        )


class _Aim(NamedTuple):
    """What a pose is fitted to."""

    bone_lengths_m: np.ndarray
    measured: np.ndarray
    whiten: np.ndarray
    prior: AnglePrior | None


class _Evaluation:
    """A state's joints and how far they are from the measured ones."""

    def __init__(self, state: _State, aim: _Aim) -> None:
        self.state = state
        posed = skeleton.chain(state.angles, aim.bone_lengths_m)
        self.rotations = posed.rotations
        self.offsets = posed.joints_m @ state.rotation.T
        self.joints = self.offsets + state.origin
        self.residuals = (aim.whiten @ (aim.measured - self.joints)[:, :, None]).ravel()
        if aim.prior is not None:
            self.residuals = np.append(self.residuals, aim.prior.residuals(state.angles))
        self.cost = float(self.residuals @ self.residuals)

    def jacobian(self) -> np.ndarray:
        """(21, 3, 27): how the joints move with turn, shift and angles, in metres per unit of a step."""
        return joint_jacobian(self.rotations, self.state.rotation, self.offsets)


def joint_jacobian(rotations: np.ndarray, rotation: np.ndarray, offsets_m: np.ndarray) -> np.ndarray:
    """Derivatives (21, 3, 27) of the joints in the world by a turn about the wrist, a shift (in 0.1 m) and the angles.

    For a posed skeleton's rotations (5, 3, 3, 3), the hand's rotation (3, 3) in the world and the joints' offsets
    (21, 3) from the wrist in world axes. A joint x beyond a hinge at p with axis a moves by a x (x - p).
    """
    jacobian = np.zeros((21, 3, 27))
    jacobian[:, :, :3] = (offsets_m @ -CROSS).reshape(21, 3, 3)
    jacobian[:, (0, 1, 2), (3, 4, 5)] = STEP_M
    axes = skeleton.hinge_axes(rotations) @ rotation.T
    turns = (axes @ CROSS).reshape(21, 3, 3)
    arms = (offsets_m - offsets_m[skeleton.HINGE_JOINTS, None]) * _MOVES[:, :, None]
    jacobian[:, :, 6:] = (arms @ turns.swapaxes(1, 2)).transpose(1, 2, 0)
    return jacobian


def _minimise(best: _Evaluation, aim: _Aim, iterations: int) -> _Evaluation:
    damping = 1e-4
    linear = None
    for _ in range(iterations):
        if linear is None:
            jacobian = whitened_jacobian(aim.whiten @ best.jacobian(), aim.prior)
            linear = jacobian.T @ jacobian, jacobian.T @ best.residuals
        normal, gradient = linear
        free = np.ones(27)
        free[6:] = ~(
            ((best.state.angles <= _LOW) & (gradient[6:] < 0)) | ((best.state.angles >= _HIGH) & (gradient[6:] > 0))
        )
        system = normal * (free[:, None] * free)
        diagonal = system.diagonal()
        system.flat[::28] = diagonal * (1 + damping) + (1 - free) + 1e-9 * diagonal.max()
        step = np.linalg.solve(system, gradient * free)
        trial = _Evaluation(best.state.moved(step), aim)
        settled = np.abs(step).max() < FIT.settled_step
        if trial.cost < best.cost:
            settled |= trial.cost > (1 - FIT.settled_gain) * best.cost
            best, linear, damping = trial, None, damping * 0.1
        else:
            damping = max(damping, 1e-4) * 30
        if settled:
            break
    return best


def whitened_jacobian(whitened: np.ndarray, prior: AnglePrior | None) -> np.ndarray:
    """(63, 27), and K rows more with a prior of K sums: of joints' derivatives (21, 3, 27) in standard deviations."""
    jacobian = whitened.reshape(63, 27)
    if prior is None:
        return jacobian
    return np.concatenate([jacobian, prior.jacobian])


def whitening(covariance_m2: np.ndarray) -> np.ndarray | None:
    """W (21, 3, 3) with W^T W the inverse of each covariance (21, 3, 3), its deviations held between sane bounds."""
    covariance = np.asarray(covariance_m2, np.float64)
    if covariance.shape != (21, 3, 3) or not np.isfinite(covariance).all():
        return None
    values, vectors = np.linalg.eigh((covariance + covariance.swapaxes(1, 2)) / 2)
    values = np.minimum(np.maximum(values, FIT.smallest_sd_m**2), FIT.largest_sd_m**2)
    return (vectors / np.sqrt(values)[:, None, :]).swapaxes(1, 2)


def _palm_pose(measured: np.ndarray, bone_lengths_m: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Rotation (3, 3) and origin (3,) that lay the palm's joints on the measured ones, or None where they form a line.

    P. Schoenemann's Procrustes solution, 1966, as a rotation.
    """
    palm = np.zeros((6, 3))
    palm[1:] = skeleton.FIRST_JOINT_DIRECTIONS * bone_lengths_m[::4, None]
    target = measured[_PALM_JOINTS]
    palm_centre, centre = palm.mean(axis=0), target.mean(axis=0)
    U, sizes, Vt = np.linalg.svd((target - centre).T @ (palm - palm_centre))
    if sizes[1] < 1e-3 * sizes[0] or sizes[0] < 1e-9:
        return None
    U[:, 2] *= np.linalg.det(U @ Vt)
    rotation = U @ Vt
    return rotation, centre - rotation @ palm_centre


def _angles_from_bones(joints_hand_m: np.ndarray) -> np.ndarray:
    """Angles (21,) read off the directions of the bones in the palm's axes; the thumb's base about.

    A bone's direction in the axes of the bone before it is (cos f cos a, sin a, -sin f cos a) for flexion f and
    abduction a.
    """
    fingers = joints_hand_m[1:].reshape(5, 4, 3)
    bones = np.diff(fingers, axis=1)
    bones = bones / np.maximum(np.linalg.norm(bones, axis=2, keepdims=True), 1e-9)
    angles = np.zeros((5, 3, 2))
    axes = skeleton.FINGER_FRAMES
    for level in range(3):
        x, y, z = np.einsum("fij,fi->jf", axes, bones[:, level])
        angles[:, level, 0] = np.arctan2(-z, x)
        angles[:, level, 1] = np.arctan2(y, np.hypot(x, z))
        angles[1:, 1:, 1] = angles[0, 2, 1] = 0
        axes = axes @ skeleton.hinge_rotations(
            angles[:, level], skeleton.HINGE_SINE[:, level], skeleton.HINGE_COSINE[:, level]
        )
    return np.minimum(np.maximum(angles.reshape(30)[skeleton.HINGE_SLOTS], _LOW), _HIGH)


def _rotation(turn_rad: np.ndarray) -> np.ndarray:
    """Rotation (3, 3) about a vector (3,) by its length: the formula of O. Rodrigues."""
    angle = float(np.sqrt(turn_rad @ turn_rad))
    K = (turn_rad @ CROSS).reshape(3, 3)
    if angle < 1e-9:
        return np.eye(3) + K
    return np.eye(3) + np.sin(angle) / angle * K + (1 - np.cos(angle)) / angle**2 * (K @ K)
