"""The viewer's window: takes what a feed gives, draws it with Open3D, obeys keys.

The window is pumped at a steady rate on the main thread. It never waits for the feed and the feed never waits for it.
Run in a process of its own, so that a window that is covered, minimised or slow cannot slow anything else.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import open3d as o3d

from app.run.process import stop
from app.transport.messages import End, PoseSet
from app.viewer import palette
from app.viewer.display import NO_EGL, NO_WINDOW, prepare_no_screen, prepare_screen
from app.viewer.feed import Feed
from app.viewer.overlay import Overlay
from app.viewer.scene import Scene
from app.viewer.state import Shown, Toggles
from app.viewer.video import Mp4Writer
from app.viewer.view import Viewpoint, camera_view, home_view
from calibration.errors import UserError
from calibration.rig import Rig
from calibration.yamlfile import write_atomic

_ESCAPE = 256
# Open3D gives these keys meanings of its own that would spoil the scene.
_UNUSED_KEYS = "LPDONBWTEVXYZAGJK[]-=,.;'/`9"


class ViewerWindow:
    """One window, on a screen or (`screen` False) in memory. `size` is (width, height) in pixels.

    `more_keys` are actions by capital letters, in place of the keys' own. `fine` renders that many times larger and
    reduces what `capture` gives, for smooth edges: EGL smooths none.

    Raises UserError where no window can be opened.
    """

    def __init__(
        self,
        rig: Rig,
        feed: Feed,
        *,
        size: tuple[int, int],
        title: str,
        screen: bool = True,
        fine: int = 1,
        more_keys: Mapping[str, Callable[[], None]] | None = None,
    ) -> None:
        self._rig, self._feed = rig, feed
        self._fine = fine
        (prepare_screen if screen else prepare_no_screen)()
        o3d.utility.set_verbosity_level(o3d.utility.VerbosityLevel.Error)
        self._window = o3d.visualization.VisualizerWithKeyCallback()
        if not self._window.create_window(title, size[0] * fine, size[1] * fine):
            raise UserError(NO_WINDOW.format(os.environ.get("DISPLAY")) if screen else NO_EGL)
        options = self._window.get_render_option()
        options.background_color = palette.BACKGROUND
        options.mesh_show_back_face = True
        options.point_size = 2.0 * fine
        options.line_width = 1.5 * fine
        self.shown = Shown()
        self.toggles = Toggles()
        self.camera_number = 0
        self._scene = Scene(self._window, rig)
        self._overlay = Overlay(self._window, rig, title, size[0], self._scene.near_m, fine)
        self._control = self._window.get_view_control()
        self._scene.fit_limits(self._control)
        self._camera_pose: np.ndarray | None = None
        self._quit = False
        self._centred = False
        self._register_keys(more_keys or {})
        self.reset_view()

    @property
    def view(self) -> Viewpoint:
        """Where the eye is now, after what the mouse did; in pixels of the picture that `capture` gives."""
        parameters = self._control.convert_to_pinhole_camera_parameters()
        intrinsic, fine = parameters.intrinsic, self._fine
        focal_px = float(intrinsic.intrinsic_matrix[1, 1]) / fine
        return Viewpoint(np.array(parameters.extrinsic), focal_px, intrinsic.width // fine, intrinsic.height // fine)

    def reset_view(self) -> None:
        """The first view, on the hands where some were seen."""
        self._leave_camera()
        size = self.view
        target_m = self._scene.hands_centre_m
        if target_m is None:
            target_m = self._scene.stage.centre_m
        bottom_px = self._overlay.bottom_px if self.toggles.images else 0
        view = home_view(
            self._scene.stage, self._rig.cameras, target_m, size.width, size.height, bottom_px, self._overlay.top_px
        )
        self._go_to(view)

    def look_through(self, number: int) -> None:
        """Look through camera `number` (from 1); 0 goes back to the free view."""
        if number == 0:
            self.reset_view()
        elif number <= len(self._rig.cameras):
            size = self.view
            self._go_to(camera_view(self._rig.cameras[number - 1], size.width, size.height))
            self.camera_number = number
            self._camera_pose = self.view.T_view_world

    def receive(self, messages: Sequence[PoseSet | End], now_ns: int) -> None:
        """Take what came, newest last; of several pose sets the newest is shown."""
        for message in messages:
            self.shown.take(message, now_ns)
        pose_set = self.shown.fresh()
        if pose_set is not None:
            self._overlay.take_images(pose_set, self._feed, now_ns, self.camera_number)
            self._scene.set_hands(self.shown.drawn_hands())
            if pose_set.hands and not self._centred:
                self._centred = True
                if not self.camera_number:
                    self.reset_view()

    def update(self, now_ns: int) -> None:
        """Bring the scene up to date with messages, keys and mouse, to be drawn by the next `pump` or `capture`."""
        view = self.view
        if self._camera_pose is not None and not np.allclose(self._camera_pose, view.T_view_world, atol=1e-6):
            self._leave_camera()
        through = self.camera_number
        self._overlay.take_reports(view.width, self.shown)
        self._scene.update(view, self.toggles, self.shown, now_ns, through, self._overlay.tiles)
        labels = self._scene.labels(self.toggles, self.shown, now_ns)
        self._overlay.update(view, self.toggles, self.shown, now_ns, through, labels)

    def pump(self) -> bool:
        """Draw, and handle keys and mouse. False when the user wants to quit."""
        self._window.update_renderer()
        return self._window.poll_events() and not self._quit

    def capture(self) -> np.ndarray:
        """The picture as drawn, (height, width, 3) uint8 RGB."""
        picture = np.asarray(self._window.capture_screen_float_buffer(True))
        picture = cv2.convertScaleAbs(picture, alpha=255)
        if self._fine > 1:
            size = picture.shape[1] // self._fine, picture.shape[0] // self._fine
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        return picture

    def close(self) -> None:
        self._window.destroy_window()

    def _go_to(self, view: Viewpoint) -> None:
        parameters = o3d.camera.PinholeCameraParameters()
        parameters.extrinsic = view.T_view_world
        width, height, focal_px = view.width * self._fine, view.height * self._fine, view.focal_px * self._fine
        parameters.intrinsic.set_intrinsics(width, height, focal_px, focal_px, width / 2 - 0.5, height / 2 - 0.5)
        self._control.convert_from_pinhole_camera_parameters(parameters, True)

    def _leave_camera(self) -> None:
        self.camera_number, self._camera_pose = 0, None

    def _register_keys(self, more: Mapping[str, Callable[[], None]]) -> None:
        def on(keys: str | int, action: Callable[[], None]) -> None:
            def act(_: o3d.visualization.Visualizer) -> bool:
                action()
                return False

            for key in [keys] if isinstance(keys, int) else map(ord, keys):
                self._window.register_key_callback(key, act)

        on(_UNUSED_KEYS, lambda: None)
        on("Q", self._stop)
        on(_ESCAPE, self._stop)
        on("R", self.reset_view)
        on(" ", lambda: self.shown.toggle_pause(time.monotonic_ns()))
        for name in ("help", "mesh", "skeleton", "uncertainty", "cloud", "frusta", "images"):
            on(name[0].upper(), lambda name=name: self.toggles.flip(name))
        for number in range(9):
            on(str(number), lambda number=number: self.look_through(number))
        for key, action in more.items():
            on(key, action)

    def _stop(self) -> None:
        self._quit = True


def run_viewer(
    rig: Rig,
    feed: Feed,
    *,
    headless: Path | None = None,
    size: tuple[int, int] = (1280, 720),
    rate_hz: float = 30.0,
    snapshot: Path | None = None,
    title: str = "UST-Hand live",
    every_set: bool = False,
    on_first_picture: Callable[[], None] = lambda: None,
    more_keys: Mapping[str, Callable[[], None]] | None = None,
) -> str:
    """Show what `feed` gives until it ends ("end") or the user quits ("quit"); returns which.

    `headless` renders to that mp4 without a screen: `rate_hz` pictures a second of wall time, or with `every_set`
    exactly one picture for each pose set, skipping none, however fast they come. `snapshot` is written as PNG at the
    end: the last view, headless the last one that showed the most hands. An exception (Ctrl-C too) still finishes
    both files. `on_first_picture` is called when one was drawn.

    Raises UserError where no window can be opened or a file cannot be written.
    """
    if headless is not None:
        with Mp4Writer(headless, *size, rate_hz) as video:
            # Smooth edges cost four times the pixels: they are for what need not keep up with the clock.
            fine = 2 if every_set or snapshot is not None else 1
            window = ViewerWindow(rig, feed, size=size, title=title, screen=False, fine=fine)
            return _run_headless(window, feed, video, rate_hz, snapshot, every_set, on_first_picture)
    window = ViewerWindow(rig, feed, size=size, title=title, more_keys=more_keys)
    try:
        return _run_on_screen(window, feed, rate_hz, on_first_picture)
    finally:
        if snapshot is not None:
            window.update(time.monotonic_ns())
            _write_png(snapshot, window.capture())
        window.close()


def _run_on_screen(window: ViewerWindow, feed: Feed, rate_hz: float, on_first_picture: Callable[[], None]) -> str:
    due_s = time.monotonic()
    first = True
    while True:
        now_ns = time.monotonic_ns()
        window.receive(feed.poll(), now_ns)
        window.update(now_ns)
        if not window.pump():
            return "quit"
        if first:
            first = False
            on_first_picture()
        if window.shown.ended is not None or stop.is_set():
            return "end"
        # A tick that is already late starts the clock anew: no burst makes up for a window that was blocked.
        due_s = max(due_s + 1 / rate_hz, time.monotonic())
        time.sleep(max(0.0, due_s - time.monotonic()))


def _run_headless(
    window: ViewerWindow,
    feed: Feed,
    video: Mp4Writer,
    rate_hz: float,
    snapshot: Path | None,
    every_set: bool,
    on_first_picture: Callable[[], None],
) -> str:
    best: np.ndarray | None = None
    most_hands = 0
    start_s = time.monotonic()

    def draw(messages: Sequence[PoseSet | End], number: int) -> None:
        nonlocal best, most_hands
        now_ns = time.monotonic_ns()
        window.receive(messages, now_ns)
        window.update(now_ns)
        picture = window.capture()
        video.write(picture, number)
        if video.frames == 1:
            on_first_picture()
        hands = window.shown.hands(now_ns)
        if best is None or hands >= most_hands:
            best, most_hands = picture, hands

    try:
        while window.shown.ended is None and not stop.is_set():
            messages = feed.poll()
            if every_set:
                for message in messages:
                    if stop.is_set():
                        break
                    if isinstance(message, End):
                        window.receive([message], time.monotonic_ns())
                    else:
                        draw([message], video.frames)
                if not messages:
                    time.sleep(0.25 / rate_hz)
            else:
                number = round((time.monotonic() - start_s) * rate_hz)
                draw(messages, number)
                time.sleep(max(0.0, start_s + (number + 1) / rate_hz - time.monotonic()))
        return "end"
    finally:
        if snapshot is not None and best is not None:
            _write_png(snapshot, best)
        window.close()


def _write_png(path: Path, picture_rgb: np.ndarray) -> None:
    try:
        write_atomic(path, cv2.imencode(".png", cv2.cvtColor(picture_rgb, cv2.COLOR_RGB2BGR))[1].tobytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}). Give another place.") from None
