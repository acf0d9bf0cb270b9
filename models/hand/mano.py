"""MANO, the hand model of J. Romero, D. Tzionas and M. J. Black, "Embodied Hands", SIGGRAPH Asia 2017.

It comes from the user's own licensed file, MANO_RIGHT.pkl or the same arrays in an .npz. The left hand is its mirror
image.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from calibration.errors import UserError
from calibration.hand import Side
from calibration.rotations import make_transform
from models.files.npzfile import read_npz
from models.hand.builtin import MIRROR_Y
from models.hand.restricted_pickle import as_array, read_pickle
from models.hand.skinning import skin, skinning_matrix

VERTICES, BONES, ANGLES = 778, 16, 45
TIPS = np.array([745, 317, 444, 556, 673])
"""(5,): the vertices that stand for the tips of thumb to little finger, as Y. Hasson's manopth chose them."""

# MANO orders its joints wrist, index, middle, little, ring, thumb, without tips; 16 to 20 are the tips above.
_FROM_MANO = np.array([0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20])
# MANO's right hand points along -x, its thumb along z and the back of its hand along y.
_AXES_HAND_MANO = np.array([[-1.0, 0, 0], [0, 0, 1], [0, 1, 0]])
_SHAPES = {
    "v_template": (VERTICES, 3),
    "shapedirs": (VERTICES, 3, None),
    "posedirs": (VERTICES, 3, 9 * (BONES - 1)),
    "J_regressor": (BONES, VERTICES),
    "weights": (VERTICES, BONES),
    "kintree_table": (2, BONES),
    "f": (None, 3),
}
_LARGEST_BETA = 10.0
_LARGEST_ANGLE_RAD = 2.0


class ManoHand:
    """A HandModel on MANO's arrays.

    The angles (45,) are MANO's own: an axis times an angle for each of its 15 joints, in its order (index, middle,
    little, ring, thumb), with 0 for its flat template hand. MANO knows no limits; these are wide. The shape is its
    betas. The global pose is the hand's in the world, about the wrist: MANO's own root rotation is not used.
    """

    name = "mano"

    def __init__(self, path: Path, side: Side = "right") -> None:
        """Reads MANO_RIGHT.pkl or .npz. Raises UserError where the file is not MANO's right hand."""
        arrays = _read(path)
        self.side: Side = side
        self.limits_rad = np.tile([-_LARGEST_ANGLE_RAD, _LARGEST_ANGLE_RAD], (ANGLES, 1))
        faces = arrays["f"].astype(np.int32)
        self.faces = faces if side == "right" else np.ascontiguousarray(faces[:, ::-1])
        self._template_m = arrays["v_template"]
        self._shape_basis = arrays["shapedirs"]
        self._pose_basis = arrays["posedirs"].reshape(VERTICES * 3, -1)
        self._regressor = arrays["J_regressor"]
        self._weights = arrays["weights"]
        self._parents = arrays["kintree_table"][0].astype(np.int64)

    def default_shape(self) -> np.ndarray:
        return np.zeros(self._shape_basis.shape[2])

    def check_shape(self, shape: np.ndarray) -> None:
        shape = np.asarray(shape)
        count = self._shape_basis.shape[2]
        if shape.shape != (count,) or not np.isfinite(shape).all() or np.abs(shape).max(initial=0) > _LARGEST_BETA:
            raise UserError(f"MANO shape: expected {count} betas between -{_LARGEST_BETA:g} and {_LARGEST_BETA:g}.")

    def joints(self, angles_rad: np.ndarray, T_world_hand: np.ndarray, shape: np.ndarray) -> np.ndarray:
        return self.pose(angles_rad, T_world_hand, shape)[0]

    def pose(
        self, angles_rad: np.ndarray, T_world_hand: np.ndarray, shape: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        rest_vertices = self._template_m + self._shape_basis @ np.asarray(shape, np.float64)
        rest_joints = self._regressor @ rest_vertices
        turns = Rotation.from_rotvec(np.reshape(angles_rad, (-1, 3))).as_matrix()
        bent = rest_vertices + (self._pose_basis @ (turns - np.eye(3)).ravel()).reshape(-1, 3)

        transforms = np.zeros((BONES, 4, 4))
        transforms[0] = self._T_world_mano(T_world_hand, rest_joints[0])
        transforms[0, :3, 3] += transforms[0, :3, :3] @ rest_joints[0]
        for bone in range(1, BONES):
            parent = self._parents[bone]
            local = make_transform(turns[bone - 1], rest_joints[bone] - rest_joints[parent])
            transforms[bone] = transforms[parent] @ local
        vertices = skin(skinning_matrix(bent, self._weights, rest_joints), transforms)
        return np.concatenate([transforms[:, :3, 3], vertices[TIPS]])[_FROM_MANO], vertices

    def _T_world_mano(self, T_world_hand: np.ndarray, wrist_m: np.ndarray) -> np.ndarray:
        T_hand_mano = make_transform(_AXES_HAND_MANO, -_AXES_HAND_MANO @ wrist_m)
        return T_world_hand @ (T_hand_mano if self.side == "right" else MIRROR_Y @ T_hand_mano)


def _read(path: Path) -> dict[str, np.ndarray]:
    """MANO's arrays by name, checked."""
    found: Mapping[str, Any]
    if path.suffix == ".npz":
        found = read_npz(path, "plain arrays", "Give MANO_RIGHT.pkl, or an .npz of dense arrays.", _SHAPES)
    else:
        found = read_pickle(path)
    missing = [name for name in _SHAPES if name not in found]
    if missing:
        raise UserError(f"{path}: not a MANO model: it lacks {', '.join(missing)}; give MANO_RIGHT.pkl.")
    arrays = {}
    for name, expected in _SHAPES.items():
        try:
            array = as_array(found[name]).astype(np.float64)
        except Exception as error:  # What stands in for an array can be broken in any way.
            raise UserError(f"{path}: {name} is no array of numbers ({error}); get MANO_RIGHT.pkl anew.") from None
        if array.ndim != len(expected) or any(n not in (None, m) for n, m in zip(expected, array.shape, strict=True)):
            wanted = " x ".join("any" if n is None else str(n) for n in expected)
            raise UserError(f"{path}: not a MANO model: {name} has the shape {array.shape}, expected {wanted}.")
        if not np.isfinite(array).all():
            raise UserError(f"{path}: {name} holds numbers that are not finite; get MANO_RIGHT.pkl anew.")
        arrays[name] = array
    _check_content(path, arrays)
    return arrays


def _check_content(path: Path, arrays: dict[str, np.ndarray]) -> None:
    parents = arrays["kintree_table"][0, 1:]
    if not ((parents >= 0) & (parents < np.arange(1, BONES))).all():
        raise UserError(f"{path}: not a MANO model: a joint in kintree_table comes before its parent.")
    faces = arrays["f"]
    if len(faces) and (faces.min() < 0 or faces.max() >= VERTICES):
        raise UserError(f"{path}: not a MANO model: a triangle names a vertex that is not there.")
    if not np.allclose(arrays["weights"].sum(axis=1), 1, atol=1e-3):
        raise UserError(f"{path}: not a MANO model: a vertex's weights do not sum to 1.")
    joints = (arrays["J_regressor"] @ arrays["v_template"]) @ _AXES_HAND_MANO.T
    middle, across = joints[4] - joints[0], joints[1] - joints[7]
    if middle[0] <= 0 or across[1] <= 0:
        raise UserError(f"{path}: not MANO's right hand, which points along -x; give MANO_RIGHT.pkl for both hands.")
