"""What is still missing for a good calibration, and the next useful pose of the board in words."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from calibration.image_cells import GRID
from calibration.wizard.coverage import CameraCoverage, Coverage

_ROWS = ("upper", "", "lower")
_COLUMNS = ("left", "", "right")


@dataclass(frozen=True, kw_only=True)
class Enough:
    """When a capture is enough."""

    views: int = 12
    """Per camera."""
    share: float = 0.5
    """Of each camera's image that corners have filled."""
    tilted: int = 3
    """Views of each camera with the board turned about either axis by `tilt_deg` at least."""
    tilt_deg: float = 20.0
    """A board seen straight on hardly tells a focal length from a distance."""
    size_ratio: float = 1.5
    """Nearest over farthest."""
    near_size: float = 0.45
    """The board's diagonal over the image's width: a board seen smaller than that is asked to come closer."""
    shared: int = 10
    """Captures in which both cameras of a link see the board."""


@dataclass(frozen=True)
class Need:
    """How far one camera is with one requirement: `done` of 1."""

    name: str
    done: float


@dataclass(frozen=True)
class Suggestion:
    """The next pose in words; the camera it is for, and the third of the image (row, column) to move to, if any."""

    text: str
    camera_ids: tuple[str, ...] = ()
    region: tuple[int, int] | None = None


def camera_needs(coverage: CameraCoverage, enough: Enough) -> list[Need]:
    """Views, image, tilt and distance."""
    tilts = sum(min(coverage.tilted(axis, enough.tilt_deg), enough.tilted) for axis in (0, 1))
    return [
        Need("views", _part(coverage.views, enough.views)),
        Need("image", _part(coverage.share, enough.share)),
        Need("tilt", _part(tilts, 2 * enough.tilted)),
        Need("distance", _part(float(np.log(coverage.size_ratio)), float(np.log(enough.size_ratio)))),
    ]


def _part(got: float, wanted: float) -> float:
    return 1.0 if got >= wanted else got / wanted


def is_enough(coverage: Coverage, enough: Enough) -> bool:
    """Every camera has what it needs, and shared captures link all of them."""
    met = all(need.done >= 1 for camera in coverage.cameras.values() for need in camera_needs(camera, enough))
    return met and len(coverage.groups(enough.shared)) == 1


def suggest(coverage: Coverage, enough: Enough, absent: Collection[str] = ()) -> Suggestion:
    """The next pose that helps most. It depends on what was captured only, so it stands still between captures.

    First every camera has to see the board, then shared views have to link all cameras, then the camera that lacks
    most is served. `absent` cameras cannot be served now.
    """
    here = [camera_id for camera_id in coverage.cameras if camera_id not in absent]
    if not here:
        return Suggestion("No camera delivers images. Each says why in its place below.")
    if not any(camera.views for camera in coverage.cameras.values()):
        return Suggestion("Hold the board still where several cameras see it.")
    blind = [camera_id for camera_id in here if not coverage.cameras[camera_id].views]
    if blind:
        partner = _best_linked(coverage, here, blind[0])
        text = f"Show the board to {blind[0]}" + (f" and {partner} at once." if partner else ".")
        return Suggestion(text, tuple(filter(None, (blind[0], partner))))
    link = _missing_link(coverage, enough, here)
    if link is not None:
        first, second = link
        left = enough.shared - coverage.shared[link]
        poses = f"{left} more poses" if left > 1 else "one more pose"
        return Suggestion(f"Hold the board where {first} and {second} both see it, in {poses}.", link)
    lacks = {camera_id: [need.done for need in camera_needs(coverage.cameras[camera_id], enough)] for camera_id in here}
    camera_id = min(here, key=lambda name: (min(lacks[name]), sum(lacks[name])))
    if min(lacks[camera_id]) >= 1:
        lost = ", ".join(name for name in coverage.cameras if name in absent)
        if lost and not is_enough(coverage, enough):
            seen = all(camera.views for camera in coverage.cameras.values())
            other = "press c to calibrate" if seen else "press q and calibrate the others by the line that it prints"
            return Suggestion(f"All but {lost} have enough. Bring {lost} back, or {other}.")
        return Suggestion("This is enough. Press c to calibrate, or go on for more precision.")
    return _for_camera(camera_id, coverage.cameras[camera_id], enough)


def _best_linked(coverage: Coverage, here: list[str], camera_id: str) -> str | None:
    others = [other for other in here if other != camera_id and coverage.cameras[other].views]
    return max(others, key=lambda other: coverage.cameras[other].views, default=None)


def _missing_link(coverage: Coverage, enough: Enough, here: list[str]) -> tuple[str, str] | None:
    """The pair across two groups that has most shared views already; None where all are linked."""
    groups = [set(group) for group in coverage.groups(enough.shared)]
    across = [
        pair
        for pair in coverage.shared
        if pair[0] in here and pair[1] in here and not any(set(pair) <= group for group in groups)
    ]
    return max(across, key=lambda pair: coverage.shared[pair], default=None)


def _for_camera(camera_id: str, coverage: CameraCoverage, enough: Enough) -> Suggestion:
    needs = {need.name: need.done for need in camera_needs(coverage, enough)}
    region = _emptiest_region(coverage) if needs["image"] < 1 or needs["views"] < 1 else None
    parts = []
    if region is not None:
        parts.append(f"move the board to the {region_name(region)} of {camera_id}'s image")
    if needs["tilt"] < 1:
        sideways, upright = (coverage.tilted(axis, enough.tilt_deg) for axis in (0, 1))
        edge = "left or right" if sideways <= upright else "upper or lower"
        parts.append(f"tilt its {edge} edge toward {camera_id if region is None else 'the camera'}")
    if needs["distance"] < 1:
        nearest = 2 ** max((placed.log_size for placed in coverage.placements if placed.sure), default=-5.0)
        word = "closer" if nearest < enough.near_size else "farther away"
        parts.append(word if parts else f"bring the board {word} to {camera_id}".replace("away to", "away from"))
    text = ", ".join(parts)
    return Suggestion(text[0].upper() + text[1:] + ".", (camera_id,), region)


def _emptiest_region(coverage: CameraCoverage) -> tuple[int, int]:
    """The third of the image, by rows and columns, with most empty cells; then with fewest corners."""
    rows = np.arange(GRID[0]) * 3 // GRID[0]
    columns = np.arange(GRID[1]) * 3 // GRID[1]

    def filled(region: tuple[int, int]) -> tuple[float, int]:
        part = coverage.heat[np.ix_(rows == region[0], columns == region[1])]
        return float((part > 0).mean()), int(part.sum())

    return min(((row, column) for row in range(3) for column in range(3)), key=filled)


def region_name(region: tuple[int, int]) -> str:
    """`upper left`, `lower part`, `middle` and so on."""
    row, column = _ROWS[region[0]], _COLUMNS[region[1]]
    if row and column:
        return f"{row} {column}"
    if row or column:
        return f"{row or column} part"
    return "middle"
