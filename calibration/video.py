"""Videos: opening one, what it says of itself, and whether it fits a camera and its frame times."""

import logging
from pathlib import Path

import av
import cv2
import numpy as np
from av.error import FFmpegError

from calibration.errors import UserError, pasted
from calibration.image_turn import ImageTurn
from calibration.rig import RigCamera

log = logging.getLogger(__name__)

_PATIENCE = 32


def check_times(times_ns: np.ndarray, camera_id: str, times_file: Path) -> None:
    """Raise UserError unless the times (n,) of a camera's frames rise."""
    steps = np.diff(times_ns)
    if (steps <= 0).any():
        frame = int(np.argmax(steps <= 0)) + 1
        raise UserError(
            f"{times_file}: times of camera `{camera_id}` must rise; frame {frame} is at {times_ns[frame]} ns after "
            f"frame {frame - 1} at {times_ns[frame - 1]} ns. Correct the times or record again."
        )


def check_video(
    video: Path,
    camera: RigCamera,
    rig_file: Path,
    rows: int,
    times_file: Path,
    deep: bool = False,
    may_end_early: bool = False,
) -> None:
    """Raise UserError unless the video has the camera's image size and a frame for each of `rows` times.

    With `may_end_early` a crash may have cut the times short: further frames are left out with a warning. `rig_file`
    and `times_file` are what errors call the origin of the size and of the times.
    """
    name = f"{video}: the video of camera `{camera.camera_id}`"
    if not video.is_file():
        gone = f"; it links to {video.readlink()}, which is not there" if video.is_symlink() else ""
        raise UserError(
            f"{name} is missing{gone}. Put it back, or import the recording again (with --copy to keep the videos "
            "in the session)."
        )
    width, height, frames = video_properties(video)
    size, upright = camera.source_size, camera.turn.exchanged((width, height))
    if (width, height) != size:
        turned = f", which with `{camera.turn}` makes images of {upright[0]}x{upright[1]}" if camera.turn else ""
        raise UserError(
            f"{name} is {width}x{height}{turned}, but {rig_file} says "
            f"{camera.camera.width}x{camera.camera.height}. Use the calibration of this recording; a camera "
            f"that is not calibrated yet gets `image_size: [{upright[0]}, {upright[1]}]`."
        )
    # Containers may only estimate their count, so a difference is believed after counting.
    if deep or frames != rows:
        frames = count_frames(video)
    if frames > rows and may_end_early:
        log.warning("%s has %d frames, but %s has %d rows of it; the rest is left out", name, frames, times_file, rows)
    elif frames != rows:
        raise UserError(
            f"{name} has {frames} frames, but {times_file} has {rows} rows of it. "
            f"{'Remove the last rows' if rows > frames else 'Add the missing rows'}, or record or import it again."
        )


def video_properties(video: Path) -> tuple[int, int, int]:
    """Width, height and the frame count that the container states. Raises UserError where it cannot be read."""
    capture = open_video(video)
    try:
        properties = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_COUNT)
        width, height, frames = (int(capture.get(value)) for value in properties)
    finally:
        capture.release()
    return width, height, frames


def stamped_times_s(video: Path) -> np.ndarray | None:
    """When each frame (n,) is to be shown, seconds from the first, as the container says; None where it does not."""
    try:
        with av.open(str(video.absolute())) as container:
            stream = container.streams.video[0]
            # A video that was cut without encoding it anew keeps the frames since a key frame, and shows none of them.
            stamps = [packet.pts for packet in container.demux(stream) if packet.size and not packet.is_discard]
            if not stamps or None in stamps or stream.time_base is None:
                return None
            # Packets come in the order in which they are decoded.
            in_order = np.sort(np.array(stamps))
            return (in_order - in_order[0]) * float(stream.time_base)
    except (FFmpegError, OSError, ValueError, IndexError):
        return None


def display_turn(video: Path) -> ImageTurn:
    """What makes the stored images upright, as the container says and players do; phones that are held upright store
    theirs lying on their side. Raises UserError where it cannot be read."""
    capture = open_video(video)
    try:
        clockwise = int(capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 360
    finally:
        capture.release()
    return ImageTurn(rotate=clockwise if clockwise in (90, 180, 270) else 0)


def count_frames(video: Path) -> int:
    """The number of frames that can be read from the video. Raises UserError where it cannot be opened."""
    capture = open_video(video)
    try:
        frames = 0
        while capture.grab():
            frames += 1
    finally:
        capture.release()
    return frames


def check_decodes(video: Path) -> None:
    """Raise UserError where no picture of the video can be decoded, as of AV1 without a graphics card that does it."""
    capture = open_video(video)
    try:
        # A damaged packet fails one grab.
        decodes = any(capture.grab() for _ in range(_PATIENCE))
        codec = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode("ascii", "replace")
    finally:
        capture.release()
    if not decodes:
        raise UserError(
            f"{video}: none of its pictures can be decoded here; it is encoded as `{codec}`. Encode it anew as H.264, "
            f"into another directory: `ffmpeg -i {pasted(video)} -c:v libx264 -crf 12 {pasted(video.stem)}.mkv`."
        )


def open_video(video: Path) -> cv2.VideoCapture:
    """Raises UserError where the file is missing or no video."""
    # FFmpeg would wait for a FIFO's other end.
    capture = cv2.VideoCapture(str(video) if video.is_file() else "", cv2.CAP_FFMPEG)
    if not (capture.isOpened() and capture.get(cv2.CAP_PROP_FRAME_WIDTH) > 0):
        capture.release()
        raise UserError(f"{video}: cannot be read as a video. Check that the file is whole, or record it again.")
    return capture


class UprightVideo:
    """A video read forward only, whose images come turned upright."""

    def __init__(self, video: Path, turn: ImageTurn) -> None:
        """Raises UserError where the file is missing or no video."""
        self._capture, self._turn = open_video(video), turn

    def grab(self) -> bool:
        """Go to the next frame; False where there is none, or it cannot be decoded."""
        return self._capture.grab()

    def retrieve(self) -> np.ndarray | None:
        """The image (H, W, 3) BGR of the frame that was grabbed; None where it cannot be decoded."""
        whole, image = self._capture.retrieve()
        return self._turn.upright(image) if whole else None

    def close(self) -> None:
        self._capture.release()
