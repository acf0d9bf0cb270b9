"""The distance between two joints that the user clicks at, as the hands move."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.transport.messages import HandPose
from app.viewer.view import Viewpoint
from calibration.hand import JOINT_NAMES

_REACH = 22
"""How far from a joint a click may be, in units of `app.viewer.sheet`."""

Joint = tuple[int, int]
"""Track and number of a joint."""


@dataclass(frozen=True, kw_only=True)
class Distance:
    """Between two joints (2, 3), world metres; `std_mm` comes from their covariances, taken as independent."""

    ends_m: np.ndarray
    mm: float
    std_mm: float

    names: tuple[str, str]

    @property
    def text(self) -> str:
        spread = f" ± {self.std_mm:.1f}" if np.isfinite(self.std_mm) else ""
        return f"{self.mm:.1f}{spread} mm"


class Measure:
    """Keeps up to two joints; a third begins anew, and a click beside all joints forgets them."""

    def __init__(self) -> None:
        self.joints: list[Joint] = []

    def click(self, pixel: np.ndarray, hands: Sequence[HandPose], view: Viewpoint, scale: float) -> None:
        """A click at a window pixel (2,)."""
        joint = nearest_joint(pixel, hands, view, _REACH * scale)
        if joint is None:
            self.joints = []
        elif joint not in self.joints:
            self.joints = [*(self.joints if len(self.joints) < 2 else []), joint]

    def places_m(self, hands: Sequence[HandPose]) -> np.ndarray:
        """Where the chosen joints (0 to 2, 3) are now; those of hands that are there."""
        return np.array([joint_m for joint_m, _ in self._found(hands)]).reshape(-1, 3)

    def distance(self, hands: Sequence[HandPose]) -> Distance | None:
        """None while there are not two joints in sight."""
        found = self._found(hands)
        if len(found) < 2:
            return None
        (a_m, cov_a), (b_m, cov_b) = found
        apart_m = b_m - a_m
        length_m = float(np.linalg.norm(apart_m))
        along = apart_m / max(length_m, 1e-9)
        variance = float(along @ (cov_a + cov_b) @ along)
        std_m = np.sqrt(variance) if variance >= 0 else np.nan
        first, second = (JOINT_NAMES[joint] for _, joint in self.joints)
        ends_m = np.array([a_m, b_m])
        return Distance(ends_m=ends_m, mm=length_m * 1e3, std_mm=float(std_m) * 1e3, names=(first, second))

    def _found(self, hands: Sequence[HandPose]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Places (3,) and covariances (3, 3) of the chosen joints of hands that are there."""
        return [place for place in (_find(joint, hands) for joint in self.joints) if place is not None]


def nearest_joint(pixel: np.ndarray, hands: Sequence[HandPose], view: Viewpoint, reach_px: float) -> Joint | None:
    """The joint whose projection is nearest to a window pixel (2,), within reach."""
    best, best_px = None, reach_px
    for hand in hands:
        apart_px = np.linalg.norm(view.project(np.array(hand.joints_world_m)) - pixel, axis=1)
        apart_px = np.where(np.isfinite(apart_px), apart_px, np.inf)
        joint = int(apart_px.argmin())
        if apart_px[joint] < best_px:
            best, best_px = (hand.track_id, joint), float(apart_px[joint])
    return best


def _find(joint: Joint, hands: Sequence[HandPose]) -> tuple[np.ndarray, np.ndarray] | None:
    for hand in hands:
        if hand.track_id == joint[0]:
            place_m = np.array(hand.joints_world_m[joint[1]])
            return (place_m, np.array(hand.covariance_m2[joint[1]])) if np.isfinite(place_m).all() else None
    return None
