"""Why cameras disagree, in words: the explanation that accounts for most of it, where one accounts for enough."""

from dataclasses import dataclass

import numpy as np

from calibration.result.result import CauseFigures
from calibration.solve.misfit import Cause, causes
from calibration.solve.rig_solve import RigSolve


@dataclass(frozen=True, kw_only=True)
class CauseSettings:
    """When an explanation is one. A sound recording's best explains by chance, or by what all recordings have (corners
    read between frames, a board that gives way), up to a fifth of one camera's part."""

    least_share: float = 0.35
    """Share of the cost that it must explain, times the number of cameras: of one camera's part."""
    least_gain: float = 40.0
    """And by how much the cost must fall: noise alone reaches about 25 over all cameras and moments."""
    alike: float = 0.9
    """Cameras whose like explanation explains this share as much are named too: of two, nobody can tell which moved."""


_SETTINGS = CauseSettings()


def find_cause(solve: RigSolve) -> CauseFigures | None:
    """The explanation of what the solution leaves over; None where none is large enough."""
    found = causes(solve.problem, solve.state)
    best, cameras = found[0], len(solve.table.camera_ids)
    if best.share * cameras < _SETTINGS.least_share or best.gain < _SETTINGS.least_gain:
        return None
    alike = [one for one in found if one.kind == best.kind and one.gain > _SETTINGS.alike * best.gain]
    ids = tuple(sorted(solve.table.camera_ids[one.camera] for one in alike if one.camera is not None))
    return CauseFigures(
        kind=best.kind,
        cameras=ids,
        after_s=best.time_s,
        share=min(best.share, 1.0),
        text=_text(best, " or ".join(ids), solve),
        remedy=_REMEDIES[best.kind],
    )


_REMEDIES = {
    "moved": "fix it, and record again without touching any camera",
    "focus": "switch its autofocus, zoom and image stabilisation off, and record again",
    "clock": "check how its frames are stamped, and that none are dropped without a gap in their times",
    "board": "glue the board to something flat and stiff, measure a row and a column of its squares, and record again",
}


def _text(cause: Cause, name: str, solve: RigSolve) -> str:
    when = "" if cause.time_s is None else f" at about {cause.time_s - solve.table.time_s.min():.0f} s"
    if cause.kind == "moved":
        turn = float(np.degrees(np.linalg.norm(cause.change[:3])))
        shift_mm = 1000 * float(np.linalg.norm(cause.change[3:]))
        return f"camera {name} moved{when}, by about {shift_mm:.1f} mm and {turn:.1f} degrees"
    if cause.kind == "focus":
        return f"camera {name} changed its focus or zoom{when}: its focal length by {100 * cause.change[0]:+.1f} %"
    if cause.kind == "board":
        return "the board is not flat, or not square"
    if cause.grows:
        return f"the clock of camera {name} runs {'fast' if cause.change[0] > 0 else 'slow'} by {_percent(cause)} %"
    late = f"{1000 * abs(cause.change[0]):.0f} ms {'later' if cause.change[0] > 0 else 'earlier'}"
    if when:
        return f"the time stamps of camera {name} jump{when}: they are {late} from then on"
    return f"the time stamps of camera {name} are wrong: {late} than the other cameras'"


def _percent(cause: Cause) -> str:
    return f"{100 * abs(cause.change[0]):.2g}"
