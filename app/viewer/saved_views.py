"""The user's views of a rig, kept in a file: `$XDG_CONFIG_HOME/usthand/views/RIG_ID.yaml`."""

import logging
import os
from pathlib import Path

import msgspec
import numpy as np

from app.viewer.view import Viewpoint
from calibration.errors import UserError
from calibration.yamlfile import read_yaml, write_yaml

log = logging.getLogger(__name__)

_MOST_FOCAL = 100.0
_MOST_M = 1e4


class _View(msgspec.Struct, kw_only=True):
    """`T_view_world` 4x4; `focal` as a share of the window's height, which may be another the next time."""

    T_view_world: list[list[float]]
    focal: float


class _Views(msgspec.Struct):
    views: dict[int, _View] = {}


def views_file(rig_id: str) -> Path:
    """Where the views of a rig are kept: `$XDG_CONFIG_HOME`, by default `~/.config`."""
    base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return base / "usthand" / "views" / f"{rig_id}.yaml"


class SavedViews:
    """Views by number, 1 to 9. Nothing is raised where the file is none or cannot be written: a warning says so."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._views: dict[int, _View] = {}
        if path is not None and path.exists():
            try:
                found = read_yaml(path, _Views).views
                self._views = {number: view for number, view in found.items() if _is_view(view)}
            except UserError as error:
                log.warning("viewer: the saved views are left out: %s", error)

    def numbers(self) -> list[int]:
        return sorted(self._views)

    def get(self, number: int, width: int, height: int) -> Viewpoint | None:
        """The view of that number for a window of that size."""
        view = self._views.get(number)
        return None if view is None else Viewpoint(np.array(view.T_view_world), view.focal * height, width, height)

    def save(self, number: int, view: Viewpoint) -> None:
        """Keep a view under a number, in place of what was there."""
        focal = view.focal_px / view.height
        self._views[number] = _View(T_view_world=np.asarray(view.T_view_world, float).tolist(), focal=focal)
        if self._path is None:
            return
        try:
            write_yaml(self._path, _Views(dict(sorted(self._views.items()))))
            log.info("viewer: view %d is kept in %s", number, self._path)
        except OSError as error:
            log.warning("viewer: %s: the view could not be kept (%s)", self._path, error.strerror)


def _is_view(view: _View) -> bool:
    if len(view.T_view_world) != 4 or any(len(row) != 4 for row in view.T_view_world):
        return False
    T = np.array(view.T_view_world)
    rigid = np.allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3), atol=1e-3) and np.linalg.det(T[:3, :3]) > 0
    return bool(rigid and np.abs(T).max() < _MOST_M and 0 < view.focal < _MOST_FOCAL and (T[3] == [0, 0, 0, 1]).all())
