"""A recording in which no hand is seen, or in one view only, says nothing of hands in space."""

from collections.abc import Mapping

from calibration.errors import UserError


def check_seen(name: str, seen: Mapping[str, int]) -> None:
    """Raise UserError where no camera sees a hand, or one camera alone; `seen` counts the hands that each sees."""
    seeing = [camera_id for camera_id, count in seen.items() if count]
    if not seeing:
        raise UserError(f"{name}: no hand is seen in any view. Give a session that shows hands.")
    if len(seeing) == 1:
        raise UserError(
            f"{name}: hands are seen by camera `{seeing[0]}` alone, and a hand in space needs two views. "
            "Give a session in which at least two cameras, better three, see the hands."
        )
