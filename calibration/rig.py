"""The rig: ordered cameras with intrinsics, poses and how each is opened, kept in `rig.yaml`."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from calibration.camera import Camera, LensModel
from calibration.camera_names import check_camera_id
from calibration.camera_source import MAX_CAMERAS, CameraSource
from calibration.errors import UserError, pasted
from calibration.image_turn import ImageTurn
from calibration.measured_latency import MeasuredLatency
from calibration.yamlfile import read_yaml, write_yaml

RIG_VERSION = 1
_ROTATION_TOLERANCE = 1e-4
_NOMINAL_FOCAL = 0.8
_LONGEST_OFFSET_S = 86_400
_FARTHEST_M = 1e6
_Error = Annotated[float, msgspec.Meta(ge=0, le=1e9)]


class SyncSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How frames of different cameras are matched.

    `mode` is `time` (capture time) or `trigger` (one hardware trigger: by the cameras' frame counters). `fps` is the
    rate of the fastest camera; None measures it. `tolerance_ms` and `deadline_ms` default from the rate.
    """

    mode: Literal["time", "trigger"] = "time"
    fps: float | None = None
    tolerance_ms: float | None = None
    deadline_ms: float | None = None

    def __post_init__(self) -> None:
        for name, most in (("fps", 1e3), ("tolerance_ms", 1e6), ("deadline_ms", 1e6)):
            value = getattr(self, name)
            if value is not None and not 0.001 <= value <= most:
                raise ValueError(f"`{name}` is {value}; it must be a number from 0.001 to {most:.0f}")


class CalibrationRecord(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Where a calibration came from and how good it was."""

    date: str | None = None
    tool: str | None = None
    board: str | None = None
    rmse_px: _Error | None = None


@dataclass(frozen=True, kw_only=True)
class RigCamera:
    """One camera of a rig.

    `T_cam_world` is 4x4 with `x_cam = T_cam_world @ x_world`, metres. `time_offset_ns` is how late this camera's
    time stamps are: true capture time = stamped time - time_offset_ns. A `remote` camera is grabbed by another host
    (`usthand grab`), which asks for its `source`. `camera` and `T_cam_world` are those of the upright image, which
    `turn` makes of the source's. `latency` is how late its frames are, where that was measured.
    """

    camera_id: str
    camera: Camera
    T_cam_world: np.ndarray
    time_offset_ns: int = 0
    source: CameraSource | None = None
    rmse_px: float | None = None
    remote: bool = False
    turn: ImageTurn = ImageTurn()
    latency: MeasuredLatency | None = None

    @property
    def source_size(self) -> tuple[int, int]:
        """(width, height) of the images that the source delivers, before they are turned."""
        return self.turn.exchanged((self.camera.width, self.camera.height))

    @cached_property
    def centre_world_m(self) -> np.ndarray:
        """Optical centre (3,) in world metres."""
        return -self.T_cam_world[:3, :3].T @ self.T_cam_world[:3, 3]

    def project(self, points_world_m: np.ndarray) -> np.ndarray:
        """World points (..., 3), metres, to distorted pixels (..., 2); NaN behind the camera."""
        points = np.asarray(points_world_m, dtype=np.float64)
        return self.camera.project(points @ self.T_cam_world[:3, :3].T + self.T_cam_world[:3, 3])


@dataclass(frozen=True)
class Rig:
    """Two to MAX_CAMERAS calibrated cameras in one world frame. `time_offsets_known` is False where the file
    gave none."""

    cameras: tuple[RigCamera, ...]
    sync: SyncSettings = field(default_factory=SyncSettings)
    calibration: CalibrationRecord | None = None
    time_offsets_known: bool = False

    def __getitem__(self, camera_id: str) -> RigCamera:
        for camera in self.cameras:
            if camera.camera_id == camera_id:
                return camera
        raise KeyError(camera_id)

    @property
    def camera_ids(self) -> tuple[str, ...]:
        return tuple(camera.camera_id for camera in self.cameras)

    def with_time_offsets(self, offsets_ns: Mapping[str, int]) -> "Rig":
        """This rig with the cameras' time offsets, added to those it has."""
        cameras = tuple(
            replace(camera, time_offset_ns=camera.time_offset_ns + offsets_ns.get(camera.camera_id, 0))
            for camera in self.cameras
        )
        return replace(self, cameras=cameras, time_offsets_known=True)

    @cached_property
    def rig_id(self) -> str:
        """Content hash of what the geometry depends on: 12 hexadecimal digits."""
        digest = hashlib.sha256()
        for camera in self.cameras:
            lens = camera.camera
            digest.update(f"{camera.camera_id} {lens.lens} {lens.width}x{lens.height} {camera.time_offset_ns}".encode())
            for values in (lens.matrix, lens.distortion, camera.T_cam_world):
                digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()[:12]


class _CameraEntry(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    id: str
    image_size: tuple[int, int]
    lens: LensModel | None = None
    matrix: list[list[float]] | None = None
    distortion: list[float] | None = None
    T_cam_world: list[list[float]] | None = None
    time_offset: float | None = None
    source: CameraSource | None = None
    rmse_px: _Error | None = None
    remote: bool = False
    mirrored: bool = False
    rotate: Literal[0, 90, 180, 270] = 0
    latency: MeasuredLatency | None = None


_ADVICE = "Give a rig.yaml, as `usthand calibrate` writes it."


class _RigFile(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    cameras: list[_CameraEntry]
    version: int = RIG_VERSION
    rig_id: str | None = None
    sync: SyncSettings = msgspec.field(default_factory=SyncSettings)
    calibration: CalibrationRecord | None = None


def read_rig(path: Path) -> Rig:
    """Read and validate `rig.yaml`.

    Raises UserError with the file, the camera, what was got and what to do: an unknown key, a camera listed twice, a
    matrix that is no rotation, a wrong count of coefficients, fewer than two cameras or more than MAX_CAMERAS.
    """
    return _read(path, _camera_from_entry)


def read_uncalibrated_rig(path: Path) -> Rig:
    """Read a `rig.yaml` for all but the calibration: ids, image sizes, sources, synchronisation.

    `lens`, `matrix`, `distortion`, `T_cam_world` and `time_offset` may be missing and are not read: every camera gets a
    nominal pinhole at the world's origin. Raises UserError as `read_rig` does for the rest.
    """
    return replace(_read(path, _nominal_camera), calibration=None, time_offsets_known=False)


def rig_file(path: Path) -> Path:
    """A `rig.yaml`, or that in a folder."""
    return path / "rig.yaml" if path.is_dir() else path


def _read(path: Path, make_camera: Callable[[_CameraEntry, Path], RigCamera]) -> Rig:
    path = rig_file(Path(path))
    file = read_yaml(path, _RigFile, _ADVICE)
    if file.version != RIG_VERSION:
        raise UserError(f"{path}: version is {file.version}; this program reads version {RIG_VERSION}.")
    seen: set[str] = set()
    cameras = []
    for entry in file.cameras:
        if entry.id in seen:
            raise UserError(f"{path}: camera `{entry.id}` is listed twice. Give every camera its own id.")
        seen.add(entry.id)
        cameras.append(make_camera(entry, path))
    if not 2 <= len(cameras) <= MAX_CAMERAS:
        raise UserError(f"{path}: {len(cameras)} cameras; a rig has 2 to {MAX_CAMERAS}.")
    offsets_known = any(entry.time_offset is not None for entry in file.cameras)
    return Rig(tuple(cameras), file.sync, file.calibration, offsets_known)


def read_rig_lenses(path: Path) -> dict[str, Camera]:
    """The lenses by camera that a `rig.yaml` has, of one camera or more; poses are not read. Raises UserError."""
    file = read_yaml(rig_file(path), _RigFile, _ADVICE)
    lenses = {}
    for entry in file.cameras:
        check_camera_id(entry.id, str(path))
        if entry.lens is not None and entry.matrix is not None and entry.distortion is not None:
            lenses[entry.id] = _lens(entry, entry.lens, entry.matrix, entry.distortion, f"{path}: camera `{entry.id}`")
    return lenses


def _lens(
    entry: _CameraEntry, lens: LensModel, matrix: list[list[float]], distortion: list[float], name: str
) -> Camera:
    width, height = entry.image_size
    try:
        return Camera(
            width=width,
            height=height,
            lens=lens,
            matrix=_matrix(matrix, (3, 3), "matrix"),
            distortion=np.array(distortion),
        )
    except UserError as error:
        raise UserError(f"{name}: {error}") from None


def _camera_from_entry(entry: _CameraEntry, path: Path) -> RigCamera:
    name = f"{path}: camera `{entry.id}`"
    check_camera_id(entry.id, str(path))
    if entry.lens is None or entry.matrix is None or entry.distortion is None or entry.T_cam_world is None:
        missing = [key for key in ("lens", "matrix", "distortion", "T_cam_world") if getattr(entry, key) is None]
        raise UserError(
            f"{name}: missing required field {', '.join(f'`{key}`' for key in missing)}, so it is not calibrated. "
            f"Calibrate the rig with `usthand calibrate {_how_to_calibrate(path)} --board board.yaml`."
        )
    camera = _lens(entry, entry.lens, entry.matrix, entry.distortion, name)
    try:
        T_cam_world = _matrix(entry.T_cam_world, (4, 4), "T_cam_world")
        check_rigid(T_cam_world)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    if entry.time_offset is not None and not abs(entry.time_offset) <= _LONGEST_OFFSET_S:
        raise UserError(
            f"{name}: `time_offset` is {entry.time_offset}; it must be a number of seconds, at most a day's."
        )
    offset_ns = round((entry.time_offset or 0.0) * 1e9)
    return RigCamera(
        camera_id=entry.id,
        camera=camera,
        T_cam_world=T_cam_world,
        time_offset_ns=offset_ns,
        source=entry.source,
        rmse_px=entry.rmse_px,
        remote=entry.remote,
        turn=ImageTurn(entry.mirrored, entry.rotate),
        latency=entry.latency,
    )


def _how_to_calibrate(path: Path) -> str:
    """The arguments of `usthand calibrate` for the rig at `path`: of a session, from its videos."""
    of_session = (path.parent / "session.yaml").is_file()
    return f"--session {pasted(path.parent)} -o {pasted(path)}" if of_session else pasted(path)


def nominal_rig(source_sizes: Mapping[str, tuple[int, int]], turns: Mapping[str, ImageTurn]) -> Rig:
    """As `read_uncalibrated_rig`, for cameras whose sources' images are of these sizes (width, height), and become
    upright by these turns. Raises UserError."""
    entries = [
        _CameraEntry(
            id=camera_id,
            image_size=turns[camera_id].exchanged(size),
            mirrored=turns[camera_id].mirrored,
            rotate=turns[camera_id].rotate,  # pyright: ignore[reportArgumentType]
        )
        for camera_id, size in source_sizes.items()
    ]
    return Rig(tuple(_nominal_camera(entry, Path("the videos")) for entry in entries))


def _nominal_camera(entry: _CameraEntry, path: Path) -> RigCamera:
    check_camera_id(entry.id, str(path))
    width, height = entry.image_size
    focal_px = _NOMINAL_FOCAL * width
    matrix = np.array([[focal_px, 0, (width - 1) / 2], [0, focal_px, (height - 1) / 2], [0, 0, 1]])
    try:
        camera = Camera(width=width, height=height, lens="pinhole5", matrix=matrix, distortion=np.zeros(5))
    except UserError as error:
        raise UserError(f"{path}: camera `{entry.id}`: {error}") from None
    return RigCamera(
        camera_id=entry.id,
        camera=camera,
        T_cam_world=np.eye(4),
        source=entry.source,
        remote=entry.remote,
        turn=ImageTurn(entry.mirrored, entry.rotate),
        latency=entry.latency,
    )


def _matrix(rows: list[list[float]], shape: tuple[int, int], name: str) -> np.ndarray:
    if len(rows) != shape[0] or any(len(row) != shape[1] for row in rows):
        raise UserError(f"`{name}` must be {shape[0]}x{shape[1]}; got rows of lengths {[len(row) for row in rows]}.")
    return np.array(rows, dtype=np.float64)


def check_rigid(T: np.ndarray) -> None:
    """Raise UserError unless the 4x4 `T` is a rotation and a translation."""
    rotation = T[:3, :3]
    if not np.isfinite(T).all():
        raise UserError("`T_cam_world` holds NaN or infinity. Calibrate this camera again.")
    if not np.allclose(T[3], [0, 0, 0, 1]):
        raise UserError(f"the last row of `T_cam_world` must be [0, 0, 0, 1]; got {T[3].tolist()}.")
    if np.abs(T).max() > _FARTHEST_M:
        raise UserError(f"`T_cam_world` must hold metres, up to {_FARTHEST_M:g}; got {T.tolist()}.")
    error = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
    determinant = float(np.linalg.det(rotation))
    if error > _ROTATION_TOLERANCE or determinant < 0:
        raise UserError(
            f"the upper left 3x3 of `T_cam_world` is not a rotation: R R^T differs from 1 by {error:.3g} "
            f"(at most {_ROTATION_TOLERANCE:g}), determinant {determinant:.3f} (must be +1). "
            "It must map world to camera, without scale or mirror."
        )


def write_latencies(path: Path, latencies: Mapping[str, MeasuredLatency]) -> None:
    """Keep what was measured of cameras in their `rig.yaml`, calibrated or not, atomically; the rest stays as it is.

    Raises UserError as `read_rig` does.
    """
    file = read_yaml(path, _RigFile, _ADVICE)
    entries = [msgspec.structs.replace(entry, latency=latencies.get(entry.id, entry.latency)) for entry in file.cameras]
    file = msgspec.structs.replace(file, cameras=entries)
    write_yaml(path, {"version": RIG_VERSION, **msgspec.to_builtins(file)})


def write_uncalibrated_rig(path: Path, rig: Rig) -> None:
    """Write what `read_uncalibrated_rig` reads, atomically: ids, image sizes, sources, synchronisation."""
    entries = [_entry(camera) for camera in rig.cameras]
    write_yaml(path, {"version": RIG_VERSION, **msgspec.to_builtins(_RigFile(cameras=entries, sync=rig.sync))})


def write_rig(path: Path, rig: Rig) -> None:
    """Write `rig.yaml` atomically; reading it back gives the same rig."""
    entries = [
        _entry(
            camera,
            lens=camera.camera.lens,
            matrix=camera.camera.matrix.tolist(),
            distortion=camera.camera.distortion.tolist(),
            T_cam_world=camera.T_cam_world.tolist(),
            time_offset=camera.time_offset_ns / 1e9 if rig.time_offsets_known else None,
            rmse_px=camera.rmse_px,
        )
        for camera in rig.cameras
    ]
    file = _RigFile(cameras=entries, rig_id=rig.rig_id, sync=rig.sync, calibration=rig.calibration)
    write_yaml(path, {"version": RIG_VERSION, **msgspec.to_builtins(file)})


def _entry(camera: RigCamera, **calibrated: Any) -> _CameraEntry:
    return _CameraEntry(
        id=camera.camera_id,
        image_size=(camera.camera.width, camera.camera.height),
        source=camera.source,
        remote=camera.remote,
        mirrored=camera.turn.mirrored,
        rotate=camera.turn.rotate,  # pyright: ignore[reportArgumentType]
        latency=camera.latency,
        **calibrated,
    )
