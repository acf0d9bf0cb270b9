"""Cameras as a file has them, before it is known whether they make a rig: poses, unit and image sizes may be missing.

Every format reads into FoundRig. `to_rig` asks for all that a rig needs, `lenses` only for what a lens needs.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from calibration.camera import Camera
from calibration.camera_names import check_camera_id, is_camera_id, match_cameras
from calibration.camera_source import MAX_CAMERAS
from calibration.errors import UserError
from calibration.formats.parts import CameraExtras, RigExtras, pinhole, warn_left_out
from calibration.image_turn import ImageTurn
from calibration.rig import (
    CalibrationRecord,
    Rig,
    RigCamera,
    SyncSettings,
    check_rigid,
)

_UNITS_M = {"m": 1.0, "cm": 0.01, "mm": 0.001}
# Of all cameras. Stereo heads for hands are 40 mm wide and more, halls of motion capture some 20 m.
_LEAST_RIG_M, _LARGEST_RIG_M = 0.01, 100.0
_LIKELY_WIDEST_M = 15.0
_ONE_PLACE_M = 0.001
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FoundCamera:
    """A camera as a file has it.

    `place` is how errors call it. `names`: the first that can name a file becomes its id. `T_cam_world` (4, 4) has its
    translation in the file's unit; where it is None, `no_pose` says why. `distortion` is in OpenCV's order.
    """

    place: str
    names: tuple[str, ...]
    matrix: np.ndarray
    distortion: np.ndarray
    fisheye: bool = False
    image_size: tuple[int, int] | None = None
    T_cam_world: np.ndarray | None = None
    no_pose: str = "the file has no pose of it."
    extras: CameraExtras = field(default_factory=CameraExtras)
    rmse_px: float | None = None

    def lens(self, image_size: tuple[int, int] | None) -> Camera:
        """The lens; `image_size` (width, height) where the file does not tell it. Raises UserError."""
        size = self.image_size or image_size
        if size is None:
            raise UserError(
                f"{self.place}: the file keeps no image size. Say it: `usthand rig convert FILE rig.yaml --image-size "
                "1280x720`."
            )
        try:
            if self.fisheye:
                return Camera(
                    width=size[0], height=size[1], lens="fisheye4", matrix=self.matrix, distortion=self.distortion
                )
            camera = pinhole(*size, self.matrix, self.distortion)
        except UserError as error:
            raise UserError(f"{self.place}: {error}") from None
        if self.extras.lens == "pinhole8" and camera.lens == "pinhole5":
            return replace(camera, lens="pinhole8", distortion=np.append(camera.distortion, [0] * 3))
        if self.extras.lens == "pinhole5" and camera.lens == "pinhole8" and not camera.distortion[5:].any():
            return replace(camera, lens="pinhole5", distortion=camera.distortion[:5])
        return camera


@dataclass(frozen=True, kw_only=True)
class FoundRig:
    """The cameras of a file.

    `unit`: that of the translations, m, cm, mm or metres in one, as the file's entry `told_by` tells; None where it
    does not, and `ask_unit` says so. `left_out`: what a rig has no place for.
    """

    path: Path
    cameras: tuple[FoundCamera, ...]
    unit: object = 1.0
    told_by: str = "unit"
    ask_unit: str = "the unit of its translations is not known."
    extras: RigExtras = field(default_factory=RigExtras)
    record: CalibrationRecord | None = None
    left_out: tuple[str, ...] = ()

    @property
    def has_poses(self) -> bool:
        """Whether there are two cameras or more, all with a pose, and not all in one place."""
        centres = _centres(self.cameras, 1.0)
        return len(self.cameras) > 1 and len(centres) == len(self.cameras) and np.ptp(centres, axis=0).any()

    @property
    def ids(self) -> tuple[str, ...]:
        """The cameras' ids: of each the first name that can be one, else `cam_N` by its place in the file."""
        return tuple(_id(camera, index) for index, camera in enumerate(self.cameras))

    @property
    def own_names(self) -> list[str]:
        """What the file calls its cameras."""
        return [camera.names[0] for camera in self.cameras]

    def named_by_table(self) -> "FoundRig":
        """The same with each camera called by the last of its names first."""
        return replace(self, cameras=tuple(replace(camera, names=camera.names[::-1]) for camera in self.cameras))

    def to_rig(self, unit_mm: float | None = None, image_size: tuple[int, int] | None = None) -> Rig:
        """A rig in metres.

        `unit_mm` is the length of one unit of the translations and `image_size` (width, height) that of every image,
        where the file does not tell. Raises UserError where something is missing or wrong, and for a rig so large or
        small that its unit must be another.
        """
        if image_size is not None and all(camera.image_size for camera in self.cameras):
            raise UserError(f"{self.path}: the file holds the size of images, so leave `--image-size` out.")
        lenses = [camera.lens(image_size) for camera in self.cameras]
        check_camera_count(len(lenses), self.path)
        for camera in self.cameras:
            if camera.T_cam_world is None:
                raise UserError(f"{camera.place}: {camera.no_pose} {_LENSES_ONLY}")
        unit_m = self._unit_m(unit_mm)
        check_distances(_centres(self.cameras, unit_m), self.ids, self.path, unit_m)
        cameras = [
            _rig_camera(camera, camera_id, lens, unit_m)
            for camera, camera_id, lens in zip(self.cameras, self.ids, lenses, strict=True)
        ]
        check_different(self.ids, self.path)
        self._warn()
        extras = self.extras
        return Rig(
            tuple(cameras), extras.sync or SyncSettings(), extras.calibration or self.record, extras.time_offsets_known
        )

    def lenses(self, sizes: Mapping[str, tuple[int, int]]) -> dict[str, Camera]:
        """The lenses of the cameras that `sizes` names, whose images are of these sizes, by their names there.

        A camera goes by its id, else by another of its names, else by the number in its name. Raises UserError.
        """
        known = match_cameras([(id_, *c.names) for id_, c in zip(self.ids, self.cameras, strict=True)], list(sizes))
        return {camera_id: self.cameras[index].lens(sizes[camera_id]) for camera_id, index in known.items()}

    def _unit_m(self, unit_mm: float | None) -> float:
        if unit_mm is not None:
            return unit_mm / 1000
        if self.unit is None:
            raise UserError(
                f"{self.path}: {self.ask_unit} Say it: `usthand rig convert FILE rig.yaml --unit-mm N`, N being the "
                "millimetres in one unit: 1 for millimetres, 1000 for metres, the side of a square of the board where "
                "lengths are in squares."
            )
        if isinstance(self.unit, float):
            return self.unit
        if not isinstance(self.unit, str) or self.unit not in _UNITS_M:
            raise UserError(f"{self.path}: `{self.told_by}` is {self.unit!r}; expected one of {', '.join(_UNITS_M)}.")
        return _UNITS_M[self.unit]

    def _warn(self) -> None:
        for camera, camera_id in zip(self.cameras, self.ids, strict=True):
            wanted = camera.extras.id or camera.names[0]
            if camera_id != wanted:
                _log.warning(f"{camera.place}: `{wanted}` cannot name a file, so the camera is called `{camera_id}`.")
        warn_left_out(self.path, list(self.left_out))


_LENSES_ONLY = (
    "Such a file gives lenses, not a rig: calibrate with them, `usthand calibrate --session DIR --intrinsics FILE`."
)


def _id(camera: FoundCamera, index: int) -> str:
    named = (camera.extras.id or "", *camera.names)
    return next((name for name in named if is_camera_id(name)), f"cam_{index}")


def _rig_camera(found: FoundCamera, camera_id: str, lens: Camera, unit_m: float) -> RigCamera:
    assert found.T_cam_world is not None
    T_cam_world = found.T_cam_world.copy()
    T_cam_world[:3, 3] *= unit_m
    try:
        check_rigid(T_cam_world)
    except UserError as error:
        raise UserError(f"{found.place}: {error}") from None
    extras = found.extras
    return RigCamera(
        camera_id=camera_id,
        camera=lens,
        T_cam_world=T_cam_world,
        time_offset_ns=extras.time_offset_ns,
        source=extras.source,
        rmse_px=found.rmse_px if extras.rmse_px is None else extras.rmse_px,
        remote=extras.remote,
        turn=ImageTurn(extras.mirrored, extras.rotate),
        latency=extras.latency,
    )


def _centres(cameras: Sequence[FoundCamera], unit_m: float) -> np.ndarray:
    """Where the cameras with a pose are (n, 3), metres."""
    poses = [camera.T_cam_world for camera in cameras if camera.T_cam_world is not None]
    return np.array([-T[:3, :3].T @ T[:3, 3] * unit_m for T in poses]).reshape(-1, 3)


def check_camera_count(count: int, path: Path) -> None:
    """Raise UserError unless there are as many cameras as a rig may have."""
    if not 2 <= count <= MAX_CAMERAS:
        raise UserError(f"{path}: {count} calibrated cameras; a rig has 2 to {MAX_CAMERAS}. {_LENSES_ONLY}")


def check_different(camera_ids: Sequence[str], path: Path) -> None:
    """Raise UserError for an id that is there twice."""
    for camera_id in camera_ids:
        if list(camera_ids).count(camera_id) > 1:
            raise UserError(f"{path}: camera `{camera_id}` is there twice. Give every camera its own name.")


def check_distances(centres_m: np.ndarray, camera_ids: Sequence[str], path: Path, unit_m: float) -> None:
    """Raise UserError for cameras (C, 3) so near or far from each other that the unit `unit_m` cannot be right."""
    apart_m = {pair: float(np.linalg.norm(centres_m[pair[0]] - centres_m[pair[1]])) for pair in _pairs(camera_ids)}
    widest_m = max(apart_m.values())
    if widest_m == 0:
        raise UserError(f"{path}: all cameras are in one place, so it has no poses. {_LENSES_ONLY}")
    if not _LEAST_RIG_M <= widest_m <= _LARGEST_RIG_M:
        raise UserError(
            f"{path}: cameras are {widest_m:.4g} m apart at most, so its lengths cannot be in the unit they were read "
            f"in. {_likely_unit(widest_m / unit_m)}"
        )
    (a, b), nearest_m = min(apart_m.items(), key=lambda item: item[1])
    if nearest_m < _ONE_PLACE_M:
        raise UserError(
            f"{path}: cameras `{camera_ids[a]}` and `{camera_ids[b]}` are {1000 * nearest_m:.3g} mm apart, so in one "
            f"place. {_likely_unit(widest_m / unit_m)} If the unit is right, one of them was not calibrated: leave it "
            "out of the file."
        )


def _pairs(camera_ids: Sequence[str]) -> list[tuple[int, int]]:
    return list(combinations(range(len(camera_ids)), 2))


def _likely_unit(widest: float) -> str:
    """What to do about a rig that is `widest` units wide."""
    units_mm = {"metres": 1000.0, "millimetres": 1.0, "centimetres": 10.0}
    likely = [(name, unit) for name, unit in units_mm.items() if 0.1 <= widest * unit / 1000 <= _LIKELY_WIDEST_M]
    if not likely:
        return "Say the millimetres in one unit: `usthand rig convert FILE rig.yaml --unit-mm N`."
    named = " or ".join(f"{name} (`usthand rig convert FILE rig.yaml --unit-mm {unit:g}`)" for name, unit in likely)
    return f"They are likely {named}."


def check_can_be_read(rig: Rig, path: Path) -> None:
    """Raise UserError for a rig that no format would give back: what is written can be read."""
    check_camera_count(len(rig.cameras), path)
    for camera_id in rig.camera_ids:
        check_camera_id(camera_id, str(path))
    check_different(rig.camera_ids, path)
    check_distances(np.array([camera.centre_world_m for camera in rig.cameras]), rig.camera_ids, path, 1.0)
