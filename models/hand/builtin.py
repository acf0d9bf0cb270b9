"""The hand model that ships with the package: 21 hinges, 21 shape parameters and a skinned mesh."""

from functools import lru_cache

import numpy as np

from calibration.hand import Side
from models.hand import skeleton
from models.hand.mesh import HandMesh, load_mesh
from models.hand.shape import MEAN_SHAPE, check_shape, shape_basis
from models.hand.skinning import skin, skinning_matrix

MIRROR_Y = np.diag([1.0, -1.0, 1.0, 1.0])
"""(4, 4): from the right hand's frame to the left one's."""

_SHAPES_KEPT = 4


def mirror_of(side: Side) -> np.ndarray:
    """(3,): factors that make a left hand's coordinates those of the right hand that its mirror image is."""
    return np.ones(3) if side == "right" else np.diag(MIRROR_Y)[:3]


def mirrored(T: np.ndarray, side: Side) -> np.ndarray:
    """A left hand's pose (..., 4, 4), or turn (..., 3, 3), as that of the right hand that its mirror image is, and the
    other way around."""
    mirror = np.diag(MIRROR_Y)[: T.shape[-1]]
    return T if side == "right" else T * np.outer(mirror, mirror)


class BuiltinHand:
    """A HandModel with the 21 angles of models.hand.skeleton and the shape (21,) of models.hand.shape.

    Keeps the skinning of the last few shapes that it posed, so that a person's hand costs one matrix product a frame.
    """

    name = "builtin"

    def __init__(self, side: Side = "right", mesh: HandMesh | None = None) -> None:
        self.side: Side = side
        self.mesh = mesh or load_mesh()
        self.limits_rad = skeleton.LIMITS_RAD
        self.faces = self.mesh.faces if side == "right" else np.ascontiguousarray(self.mesh.faces[:, ::-1])
        self._basis = shape_basis(self.mesh.rest_vertices_m, self.mesh.weights)
        self._skinning_of = lru_cache(_SHAPES_KEPT)(self._skinning)
        rest = skeleton.bone_transforms(skeleton.REST_ANGLES_RAD, skeleton.MEAN_BONE_LENGTHS_M)
        self._rest_axes = rest[:, :3, :3].swapaxes(1, 2)

    def default_shape(self) -> np.ndarray:
        return MEAN_SHAPE.copy()

    def check_shape(self, shape: np.ndarray) -> None:
        check_shape(shape)

    def joints(self, angles_rad: np.ndarray, T_world_hand: np.ndarray, shape: np.ndarray) -> np.ndarray:
        joints = skeleton.chain(angles_rad, shape[:20]).joints_m
        T = self._T_world_right(T_world_hand)
        return joints @ T[:3, :3].T + T[:3, 3]

    def pose(
        self, angles_rad: np.ndarray, T_world_hand: np.ndarray, shape: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        T = self._T_world_right(T_world_hand)
        posed = skeleton.chain(angles_rad, shape[:20])
        transforms = T @ skeleton.transforms_of(posed)
        transforms[:, :3, :3] = transforms[:, :3, :3] @ self._rest_axes
        return posed.joints_m @ T[:3, :3].T + T[:3, 3], skin(self._skinning_of(tuple(shape)), transforms)

    def rest_vertices(self, shape: np.ndarray) -> np.ndarray:
        """A right hand's vertices (N, 3) in skeleton.REST_ANGLES_RAD, in the hand frame."""
        return self.mesh.rest_vertices_m + self._basis @ (shape - MEAN_SHAPE)

    def _skinning(self, shape: tuple[float, ...]) -> np.ndarray:
        rest = skeleton.bone_transforms(skeleton.REST_ANGLES_RAD, np.array(shape[:20]))
        return skinning_matrix(self.rest_vertices(np.array(shape)), self.mesh.weights, rest[:, :3, 3])

    def _T_world_right(self, T_world_hand: np.ndarray) -> np.ndarray:
        """From the right hand's frame to the world; for a left hand with the mirror in it."""
        return T_world_hand if self.side == "right" else T_world_hand @ MIRROR_Y
