"""`python -m app.evaluation.worse_footage SESSION OUT KIND`: a session's videos as a worse rig would have made them.

    half_size    by cameras of half the width and height
    far          from twice as far away: half the size in the middle of an image as large as before, the rest grey
    upside_down  by cameras that hang upside down
    dark         by an eighth of the light, with the noise of photons and of the sensor
    blurred      out of focus
    grey         without colour
    slow         at half the frame rate

The rig goes with the images, so that any method can be measured on both sessions.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from calibration.errors import UserError
from calibration.image_turn import ImageTurn
from calibration.programs import exit_code
from calibration.rig import RigCamera
from calibration.rotations import make_transform
from calibration.session import Session, check_session, read_session, write_session

_BLUR_PX = 3.0
_LIGHT, _GAMMA = 1 / 8, 2.2
_PHOTON_NOISE, _SENSOR_NOISE = 0.03, 0.006
_GREY = 90
_QUALITY = 97


class Worse(NamedTuple):
    """What becomes of images (H, W, 3), uint8 BGR, and of the camera that took them; every so many frames are kept."""

    image: Callable[[np.ndarray, np.random.Generator], np.ndarray]
    camera: Callable[[RigCamera], RigCamera] = lambda camera: camera
    every: int = 1


def _smaller(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)


def _far(image: np.ndarray) -> np.ndarray:
    away, smaller = np.full_like(image, _GREY), _smaller(image)
    height, width = smaller.shape[:2]
    away[height // 2 : height // 2 + height, width // 2 : width // 2 + width] = smaller
    return away


def _dark(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    light = _LIGHT * (image / np.float32(255)) ** _GAMMA
    photons = _PHOTON_NOISE * np.sqrt(light) * random.standard_normal(light.shape, np.float32)
    light += photons + _SENSOR_NOISE * random.standard_normal(light.shape, np.float32)
    return (255 * np.clip(light, 0, 1) ** (1 / _GAMMA)).astype(np.uint8)


def _halved(camera: RigCamera) -> RigCamera:
    """Pixels are counted at their middles: two of them make one."""
    lens = camera.camera
    matrix = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1]]) @ lens.matrix
    return replace(camera, camera=replace(lens, width=lens.width // 2, height=lens.height // 2, matrix=matrix))


def _farther(camera: RigCamera) -> RigCamera:
    lens, smaller = camera.camera, _halved(camera).camera
    matrix = smaller.matrix + np.array([[0, 0, smaller.width // 2], [0, 0, smaller.height // 2], [0, 0, 0]])
    return replace(camera, camera=replace(lens, matrix=matrix))


def _turned_over(camera: RigCamera) -> RigCamera:
    lens, over = camera.camera, np.diag([-1.0, -1.0, 1.0])
    matrix = np.array([[-1, 0, lens.width - 1], [0, -1, lens.height - 1], [0, 0, 1]]) @ lens.matrix @ over
    distortion = lens.distortion.copy()
    if lens.lens != "fisheye4":
        distortion[2:4] *= -1  # tangential
    turned = replace(lens, matrix=matrix, distortion=distortion)
    return replace(camera, camera=turned, T_cam_world=make_transform(over, np.zeros(3)) @ camera.T_cam_world)


KINDS = {
    "half_size": Worse(lambda image, _: _smaller(image), _halved),
    "far": Worse(lambda image, _: _far(image), _farther),
    "upside_down": Worse(lambda image, _: cv2.rotate(image, cv2.ROTATE_180), _turned_over),
    "dark": Worse(_dark),
    "blurred": Worse(lambda image, _: cv2.GaussianBlur(image, (0, 0), _BLUR_PX)),
    "grey": Worse(lambda image, _: cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)),
    "slow": Worse(lambda image, _: image, every=2),
}


def make_worse(session: Session, out: Path, kind: str) -> Session:
    """Write the worse session, of one of KINDS, which it returns.

    Raises UserError where `out` exists, or a video cannot be read or was not written whole.
    """
    if out.exists():
        raise UserError(f"{out} is there already. Give the name of a new directory.")
    out.mkdir(parents=True)
    worse, times_ns = KINDS[kind], {}
    for number, camera_id in enumerate(tqdm(session.camera_ids, unit="camera", disable=None)):
        times_ns[camera_id] = session.frame_times_ns(camera_id)[:: worse.every]
        _write_video(session, camera_id, out / f"{camera_id}.avi", worse, np.random.default_rng(number))
    rig = replace(
        session.rig,
        cameras=tuple(replace(worse.camera(each), turn=ImageTurn(), source=None) for each in session.rig.cameras),
    )
    videos = {camera_id: f"{camera_id}.avi" for camera_id in session.camera_ids}
    write_session(out, rig, videos, times_ns, clock=session.clock, source=f"{session.name}, {kind}")
    return check_session(out, deep=True)  # of a video that ends early OpenCV says nothing


def _write_video(session: Session, camera_id: str, path: Path, worse: Worse, random: np.random.Generator) -> None:
    video, writer = session.open_video(camera_id), None
    try:
        for frame in range(len(session.frame_times_ns(camera_id))):
            image = video.retrieve() if video.grab() else None
            if image is None:
                raise UserError(f"{session.video_path(camera_id)}: frame {frame} cannot be read. Repair the session.")
            if frame % worse.every:
                continue
            image = worse.image(image, random)
            if writer is None:
                size = image.shape[1], image.shape[0]
                writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, size)
                writer.set(cv2.VIDEOWRITER_PROP_QUALITY, _QUALITY)
            writer.write(image)
    finally:
        video.close()
        if writer is not None:
            writer.release()


def run(args: argparse.Namespace) -> int:
    make_worse(read_session(args.session), args.out, args.kind)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m app.evaluation.worse_footage",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("session", type=Path, metavar="SESSION", help="recorded, of a calibrated rig")
    parser.add_argument("out", type=Path, metavar="OUT", help="the session to make")
    parser.add_argument("kind", choices=KINDS, metavar="KIND", help=", ".join(KINDS))
    args = parser.parse_args()
    return exit_code(lambda: run(args), place=args.out)


if __name__ == "__main__":
    sys.exit(main())
