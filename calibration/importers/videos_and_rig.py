"""The cameras of a recording: those of its calibration with their videos, or of its videos alone where it has none."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from calibration.camera_names import match_cameras
from calibration.errors import UserError
from calibration.formats import detect_format, read_any, read_found_rig
from calibration.importers.recording import check_count, listed
from calibration.rig import Rig, RigCamera, nominal_rig
from calibration.video import display_turn, video_properties


@dataclass(frozen=True, kw_only=True)
class VideosAndRig:
    """A rig and a video of each of its cameras. `calibration` is the file it is from; None where it is nominal.

    `lenses` is a file that has lenses and no poses.
    """

    rig: Rig
    videos: dict[str, Path]
    calibration: Path | None = None
    lenses: Path | None = None


def has_poses(calibration: Path) -> bool:
    """Whether a file is a calibrated rig, and not only lenses. Raises UserError where it cannot be read."""
    return detect_format(calibration) == "usthand" or read_found_rig(calibration).has_poses


def join(
    videos: Mapping[str, Path], calibration: Path | None, unit_mm: float | None = None, *, by_table: bool = False
) -> VideosAndRig:
    """The cameras of `calibration` with their videos, which are given by the names that they have.

    A video goes by the camera's names, else by the number in them, else they go in order. `by_table`: cameras are
    called as their tables in the file, not as these name them. Raises UserError where videos and cameras do not match,
    and for a calibration that is wrong.
    """
    if calibration is None or not has_poses(calibration):
        if unit_mm is not None and calibration is None:
            raise UserError("`--unit-mm` is of a calibration, and the recording has none. Leave it out.")
        check_count(len(videos), next(iter(videos.values())).parent)
        sizes = {camera_id: video_properties(video)[:2] for camera_id, video in videos.items()}
        turns = {camera_id: display_turn(video) for camera_id, video in videos.items()}
        return VideosAndRig(rig=nominal_rig(sizes, turns), videos=dict(videos), lenses=calibration)
    rig, named = _rig_and_names(calibration, unit_mm, by_table)
    if len(videos) != len(rig.cameras):
        missing = "is missing" if len(videos) < len(rig.cameras) else "is not calibrated"
        raise UserError(
            f"{next(iter(videos.values())).parent}: {len(videos)} videos ({listed(list(videos.values()))}) for "
            f"{len(rig.cameras)} cameras ({', '.join(names[0] for names in named)}) in {calibration}: one {missing}. "
            "Give the calibration of this recording, or put the missing video back."
        )
    matched = match_cameras(named, list(videos))
    if len(matched) < len(videos):
        matched = {name: index for index, name in enumerate(videos)}
    of_camera = {index: videos[name] for name, index in matched.items()}
    cameras = tuple(_turned_alike(camera, of_camera[index]) for index, camera in enumerate(rig.cameras))
    return VideosAndRig(
        rig=replace(rig, cameras=cameras),
        videos={camera_id: of_camera[index] for index, camera_id in enumerate(rig.camera_ids)},
        calibration=calibration,
    )


def _turned_alike(camera: RigCamera, video: Path) -> RigCamera:
    """The camera, with its video turned where it was calibrated as players show the video, and not as it is stored."""
    if camera.turn or video_properties(video)[:2] == camera.source_size:
        return camera
    turned = replace(camera, turn=display_turn(video))
    return turned if video_properties(video)[:2] == turned.source_size else camera


def _rig_and_names(calibration: Path, unit_mm: float | None, by_table: bool) -> tuple[Rig, list[tuple[str, ...]]]:
    if detect_format(calibration) == "usthand":
        rig = read_any(calibration, unit_mm=unit_mm)
        return rig, [(camera_id,) for camera_id in rig.camera_ids]
    found = read_found_rig(calibration)
    rig = (found.named_by_table() if by_table else found).to_rig(unit_mm)
    return rig, [camera.names for camera in found.cameras]
