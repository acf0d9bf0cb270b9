"""What holds of every grip."""

from models.hand.skeleton import LIMITS_RAD
from models.simulation.grip import Grip


def within_limits(grip: Grip) -> bool:
    low, high = LIMITS_RAD.T
    return bool(((low - 1e-9 <= grip.angles_rad) & (grip.angles_rad <= high + 1e-9)).all())
