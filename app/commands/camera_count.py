"""How many cameras a simulated rig is to have."""

from calibration.camera_source import MAX_CAMERAS
from calibration.errors import UserError


def check_camera_count(cameras: int) -> None:
    """Of `--cameras`. Raises UserError for a number that no rig has."""
    if not 2 <= cameras <= MAX_CAMERAS:
        raise UserError(f"`--cameras {cameras}`: a rig has 2 to {MAX_CAMERAS} cameras.")
