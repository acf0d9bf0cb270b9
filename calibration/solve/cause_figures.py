"""Why cameras disagree, in words: the explanation that accounts for most of it, where one accounts for enough."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from calibration.result.result import CauseFigures
from calibration.solve.clock_jump import ClockJump, find_jump
from calibration.solve.intrinsics import GIVEN_REMEDY
from calibration.solve.midway_exchange import find_exchange
from calibration.solve.misfit import Cause, causes, row_times
from calibration.solve.rig_solve import RigSolve
from calibration.solve.rig_state import ROW
from calibration.solve.split_fit import fit_change

CauseKind = Literal["moved", "focus", "clock", "board", "exchanged", "motion", "lens"]


@dataclass(frozen=True, kw_only=True)
class CauseSettings:
    """When an explanation is one. A sound recording's best explains by chance, or by what all recordings have (corners
    read between frames, a board that gives way), up to a fifth of one camera's part."""

    least_share: float = 0.25
    """Share of the cost that it must explain, times the number of cameras: of one camera's part."""
    least_share_apart: float = 0.05
    """The same where a camera fits far better alone than with the others."""
    least_change_apart: float = 0.25
    """But there a camera that changed once must remove this share of all that cameras miss by: had it changed, it would
    remove most, and less is had by any change amid a larger fault."""
    least_gain: float = 40.0
    """And by how much the cost must fall: noise alone reaches about 25 over all cameras and moments."""
    least_focal: float = 0.005
    """A given focal length that is clearly off by more is told, whatever its share: it puts its camera off by as much
    of the board's distance, and poses hide it where all lenses are off alike."""
    least_motion_share: float = 0.5
    """Share of the squared misfit that must be absent while the board is slow. Noise alone leaves it as it is."""
    likely: float = 0.5
    """Cameras that explain this share as much by the quadratic are tried."""
    alike: float = 0.97
    """Those that explain this share as much by a fit are all named: of two, nobody can tell which moved."""
    least_rows_share: float = 0.05
    """Share of the cost that rows must explain which are read one after the other: far less comes by chance."""
    row_s: tuple[float, float] = (5e-6, 1e-4)
    """From a fast sensor's time between two rows to that of one with few rows and a slow rate."""


_SETTINGS = CauseSettings()


def find_cause(solve: RigSolve, apart: bool) -> CauseFigures | None:
    """The explanation of what the solution leaves over; None where none is large enough, and where the fit has not
    settled. `apart`: a camera fits far better alone than with the others, so that there is something to explain."""
    if apart and (jump := find_jump(solve.poses)) is not None:
        return _told(solve, "clock", jump.cameras, jump.time_s, jump.share, _jump_text(jump))
    if solve.intrinsics.unfit:
        return _unfit_lenses(solve)
    if not solve.converged:
        # The quadratic holds at the least cost alone: elsewhere it names what is not, or is not finite.
        return None
    found, cameras = causes(solve.problem, solve.state), len(solve.table.camera_ids)
    best = found[0]
    enough = best.gain > _SETTINGS.least_gain
    off = best.kind == "lens" and any(abs(focal) > _SETTINGS.least_focal for focal in best.lenses.values())
    if not (enough and (off or best.share * cameras > _SETTINGS.least_share)):
        if apart and (fast := _too_fast(solve)) is not None:
            return fast
        if not (apart and enough and best.share * cameras > _SETTINGS.least_share_apart):
            return None
    if best.kind == "board":
        return _told(solve, best.kind, (), None, best.share, "the board is not flat, or not square")
    if best.kind == "lens":
        text = f"what was filmed does not fit the given lens of {{}}{{}}{_focal_text(best)}"
        return _told(solve, best.kind, tuple(best.lenses), None, best.share, text, " and of ")
    if best.kind == "clock":
        assert best.camera is not None
        return _told(solve, best.kind, (best.camera,), best.time_s, best.share, _clock_text(best))
    exchange = find_exchange(solve.poses)
    if exchange is not None:
        both = (exchange.first, exchange.second)
        return _told(solve, "exchanged", both, exchange.time_s, best.share, "cameras {} are exchanged{}", " and ")
    changed = _changed_camera(solve, found)
    least = max(_SETTINGS.least_share_apart / cameras, _SETTINGS.least_change_apart * apart)
    return changed if changed.share > least else None


def rolling_shutter(solve: RigSolve) -> list[str]:
    """A note where the board moved so fast that sensors which read row after row show, and that was not asked for."""
    if solve.problem.free[:, ROW].any():
        return []
    row_s, share = row_times(solve.problem, solve.state)
    usual_s, (least_s, most_s) = float(np.median(row_s)), _SETTINGS.row_s
    if not (share > _SETTINGS.least_rows_share and least_s < usual_s < most_s):
        return []
    told = f"about {1e6 * usual_s:.0f} µs apart, which explains {100 * share:.0f} % of what cameras miss by"
    rows = f"the board moved fast and sensors read their rows one after the other, {told}"
    return [f"{rows}: `--session DIR --rolling-shutter` solves for that; or move the board more slowly"]


def _unfit_lenses(solve: RigSolve) -> CauseFigures:
    intrinsics = solve.intrinsics
    text, remedy = intrinsics.unfit_text(solve.table.camera_ids)
    worst = max(intrinsics.unfit, key=lambda camera: intrinsics.rmse_px[camera])
    share = 1 - (intrinsics.unfit[worst] / intrinsics.rmse_px[worst]) ** 2
    told = _told(solve, "lens", tuple(intrinsics.unfit), None, share, "")
    return replace(told, text=text, remedy=remedy)


def _focal_text(cause: Cause) -> str:
    most = max(abs(focal) for focal in cause.lenses.values())
    up_to = "up to " if len(cause.lenses) > 1 else ""
    return f", whose focal length is off by {up_to}{100 * most:.1f} %" if most > _SETTINGS.least_focal else ""


def _changed_camera(solve: RigSolve, found: list[Cause]) -> CauseFigures:
    """What a fit to each of the likely cameras, as two, says of it."""
    changed = [one for one in found if one.kind in ("moved", "focus")]
    likely: dict[int | None, Cause] = {}
    for one in changed:
        if one.gain > _SETTINGS.likely * changed[0].gain:
            likely.setdefault(one.camera, one)
    fits = {camera: fit_change(solve.problem, solve.state, cause) for camera, cause in likely.items()}
    best = max(fits.values(), key=lambda fit: fit.share)
    alike = tuple(
        fit.camera for fit in fits.values() if fit.kind == best.kind and fit.share > _SETTINGS.alike * best.share
    )
    if best.kind == "focus":
        text = f"camera {{}} changed its focus or zoom{{}}: its focal length by {100 * best.focal:+.1f} %"
    else:
        turn_deg, shift_mm = (float(np.linalg.norm(each)) for each in (np.degrees(best.turn_rad), 1000 * best.shift_m))
        text = f"camera {{}} moved{{}}, by {shift_mm:.1f} mm and {turn_deg:.2f} degrees"
    return _told(solve, best.kind, alike, likely[best.camera].time_s, best.share, text)


def _too_fast(solve: RigSolve) -> CauseFigures | None:
    """Where cameras miss while the board is fast, and do not in the third of views where it is slowest: what lies
    between two frames is not known. None where it is not so."""
    table, squared = solve.problem.table, (solve.residuals_px**2).sum(-1)
    speed = np.sqrt((table.velocity_px_s**2).sum((1, 2)) / np.maximum(table.seen.sum(1), 1))
    if not speed.any():
        return None
    cameras = range(len(table.camera_ids))
    slow = speed <= np.array([np.percentile(speed[table.camera == camera], 33) for camera in cameras])[table.camera]
    slow_px, all_px = (float(np.sqrt(squared[views][table.seen[views]].mean())) for views in (slow, slow | ~slow))
    share = 1 - slow_px**2 / all_px**2
    if share < _SETTINGS.least_motion_share:
        return None
    text = f"the board moved too fast for the frame rate: while it was slow, cameras miss by {slow_px:.2f} pixels"
    return _told(solve, "motion", (), None, share, text)


def _clock_text(cause: Cause) -> str:
    change = float(cause.change[0])
    if cause.grows:
        return f"the clock of camera {{}} runs {'fast' if change > 0 else 'slow'} by {100 * abs(change):.2g} %{{}}"
    late = f"{1000 * abs(change):.0f} ms {'later' if change > 0 else 'earlier'}"
    if cause.time_s is None:
        return f"the time stamps of camera {{}} are wrong{{}}: they are {late} than the other cameras'"
    return f"the time stamps of camera {{}} jump{{}}: they are {late} from then on"


def _jump_text(jump: ClockJump) -> str:
    if len(jump.cameras) > 1:
        return f"the time stamps of camera {{}} jump{{}}, by about {1000 * abs(jump.late_s):.0f} ms against each other"
    late = f"about {1000 * abs(jump.late_s):.0f} ms {'later' if jump.late_s > 0 else 'earlier'}"
    return f"the time stamps of camera {{}} jump{{}}: they are {late} from then on"


def _told(
    solve: RigSolve, kind: CauseKind, cameras: tuple[int, ...], time_s: float | None, share: float, text: str,
    joint: str = " or ",
) -> CauseFigures:  # fmt: skip
    """The figures, with the cameras' names and the moment put into the text."""
    ids = tuple(solve.table.camera_ids[camera] for camera in sorted(cameras))
    after_s = None if time_s is None else time_s - float(solve.table.time_s.min())
    when = "" if after_s is None else f" at about {after_s:.0f} s"
    return CauseFigures(
        kind=kind,
        cameras=ids,
        after_s=after_s,
        share=float(np.clip(share, 0.0, 1.0)),
        text=text.format(joint.join(ids), when),
        remedy=_REMEDIES[kind],
    )


_REMEDIES = {
    "moved": "fix it, and record again without touching any camera",
    "focus": "switch its autofocus, zoom and image stabilisation off, and record again",
    "motion": "move the board more slowly, or film more frames a second",
    "exchanged": "open each camera by a name that stays, such as its serial number or its port, and record again",
    "clock": "check how its frames are stamped, and that none are dropped without a gap in their times",
    "lens": GIVEN_REMEDY,
    "board": "glue the board to something flat and stiff, measure a row and a column of its squares, and record again",
}
