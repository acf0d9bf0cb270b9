"""What a hand model offers: from joint angles, a global pose and a shape to 21 joints and a mesh."""

from typing import Protocol

import numpy as np

from calibration.hand import Side


class HandModel(Protocol):
    """A posable hand: A joint angles, S shape parameters, N vertices, F triangles.

    The hand frame has its origin in the wrist joint. For a right hand x runs from the wrist towards the fingers, y
    towards the thumb and z out of the back of the hand; a left hand is the mirror image in y with the same angles.
    The 21 joints have the order of calibration.hand.
    """

    @property
    def name(self) -> str: ...

    @property
    def side(self) -> Side: ...

    @property
    def limits_rad(self) -> np.ndarray:
        """(A, 2): the smallest and the largest value of each angle."""
        ...

    @property
    def faces(self) -> np.ndarray:
        """(F, 3) int32 vertex indices, counter-clockwise seen from outside."""
        ...

    def default_shape(self) -> np.ndarray:
        """(S,): the mean person."""
        ...

    def check_shape(self, shape: np.ndarray) -> None:
        """Raises UserError where no person has this shape."""
        ...

    def joints(self, angles_rad: np.ndarray, T_world_hand: np.ndarray, shape: np.ndarray) -> np.ndarray:
        """Joints (21, 3) in world metres for angles (A,), a rigid transform (4, 4) and a shape (S,)."""
        ...

    def pose(
        self, angles_rad: np.ndarray, T_world_hand: np.ndarray, shape: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Joints (21, 3) and vertices (N, 3) in world metres, by linear blend skinning."""
        ...
