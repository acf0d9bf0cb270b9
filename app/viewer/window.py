"""The viewer's window: takes what a feed gives, draws it with Open3D, obeys keys and mouse."""

import os
import time
from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
import open3d as o3d

from app.transport.messages import End, PoseSet, RecordingStatus
from app.viewer import palette
from app.viewer.display import NO_EGL, NO_WINDOW, prepare_no_screen, prepare_screen
from app.viewer.eye import Eye
from app.viewer.feed import Feed
from app.viewer.keys import CTRL, SHIFT, codes_of, keys_in
from app.viewer.measure import Measure
from app.viewer.mouse import Mouse, MouseActions
from app.viewer.overlay import Overlay
from app.viewer.replay import Replay
from app.viewer.saved_views import SavedViews
from app.viewer.scene import Scene
from app.viewer.seeker import Place, Seeker
from app.viewer.state import Shown, Toggles, drawn_hands
from app.viewer.stats import is_heartbeat
from app.viewer.trail import SETS as TRAIL_SETS
from app.viewer.view import Viewpoint
from calibration.errors import UserError
from calibration.rig import Rig

# Open3D gives these keys meanings of its own that would spoil the scene.
_UNUSED_KEYS = "LPDONBWTEVXYZAGJK[]-=,.;'/`9"
_PRESS, _REPEAT = 1, 2
_REPEATED = (262, 263)
_LINE_WIDTH, _POINT_SIZE = 1.5, 2.0


class ViewerWindow:
    """One window, on a screen or (`screen` False) in memory. `size` is (width, height) in pixels.

    `more_keys` are actions by capital letters, in place of the keys' own: those of a recording's takes. `views` are the
    user's, `replay` the time line of a recording and `seeker` its videos. `fine` renders that many times larger and
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
        theme: palette.Theme = "dark",
        views: SavedViews | None = None,
        replay: Replay | None = None,
        seeker: Seeker | None = None,
        more_keys: Mapping[str, Callable[[], None]] | None = None,
    ) -> None:
        self._feed, self._fine, self._theme, self._replay = feed, fine, theme, replay
        self._seeker = seeker
        self._sought: Place | None = None
        self._more_keys = more_keys or {}
        palette.use(theme)
        (prepare_screen if screen else prepare_no_screen)()
        o3d.utility.set_verbosity_level(o3d.utility.VerbosityLevel.Error)
        self._window = o3d.visualization.VisualizerWithKeyCallback()
        if not self._window.create_window(title, size[0] * fine, size[1] * fine):
            raise UserError(NO_WINDOW.format(os.environ.get("DISPLAY")) if screen else NO_EGL)
        self._options = self._window.get_render_option()
        self._options.background_color = palette.BACKGROUND
        self._options.mesh_show_back_face = True
        self.shown = Shown()
        self.toggles = Toggles()
        self.measure = Measure()
        self._scene = Scene(self._window, rig)
        self._keys = keys_in({"takes" if self._more_keys else "without takes", "replay" if replay else "live"})
        self._overlay = Overlay(self._window, rig, title, size, self._scene.near_m, fine, self._keys, replay)
        control = self._window.get_view_control()
        self._scene.fit_limits(control)
        self._eye = Eye(control, rig, self._scene.stage, views or SavedViews(None), fine)
        self._quit = False
        self._centred = False
        self._undrawn: PoseSet | None = None
        self._register_keys()
        if screen:
            Mouse(self._window, self._mouse_actions())
        self.reset_view()

    @property
    def view(self) -> Viewpoint:
        """Where the eye is now, after what the mouse did; in pixels of the picture that `capture` gives."""
        return self._eye.view

    @property
    def camera_number(self) -> int:
        """Of the camera looked through; 0 in the free view."""
        return self._eye.camera_number

    def reset_view(self) -> None:
        """The first view, on the hands where some were seen."""
        bottom_px = self._overlay.bottom_px if self.toggles.images else 0
        self._eye.go_home(self._scene.hands_centre_m, bottom_px, self._overlay.top_px)

    def look_through(self, number: int) -> None:
        """Look through camera `number` (from 1); 0 goes back to the free view."""
        if number == 0:
            self.reset_view()
        else:
            self._eye.look_through(number)

    def receive(self, messages: Sequence[PoseSet | End | RecordingStatus], now_ns: int) -> None:
        """Take what came, newest last; of several pose sets the newest is shown."""
        for message in messages:
            if self._replay is not None:
                self._keep(self._replay, message)
            elsewhere = self._replay is not None and (self._replay.is_back or self._replay.is_ahead)
            self.shown.take(message, now_ns, show=not elsewhere)
            if isinstance(message, PoseSet) and self.shown.pose_set is message:
                self._scene.pass_by(drawn_hands(message))
        self._undrawn = self._take_fresh(self._feed, now_ns)

    @property
    def stays(self) -> bool:
        """Whether the user looks at what is kept of a replay, although no more comes."""
        return self._replay is not None and self._replay.stays

    def _take_fresh(self, feed: Feed, now_ns: int) -> PoseSet | None:
        """Show the pose set that has not been shown, if there is one, with the images of a feed."""
        pose_set = self.shown.fresh()
        if pose_set is not None:
            self._overlay.take_images(self.shown, pose_set, feed, now_ns, self.camera_number)
            self._scene.set_hands(self.shown.drawn_hands())
            if pose_set.hands and not self._centred:
                self._centred = True
                if not self.camera_number:
                    self.reset_view()
        return pose_set

    def _keep(self, replay: Replay, message: PoseSet | End | RecordingStatus) -> None:
        if isinstance(message, End):
            replay.end()
        elif isinstance(message, PoseSet) and not is_heartbeat(message):
            images = {}
            for camera_id, report in message.cameras.items():
                if report.slot is not None and camera_id in self._overlay.tiles:
                    image = self._feed.image(report.slot, self._overlay.tiles[camera_id].width)
                    images |= {} if image is None else {report.slot: image}
            replay.history.add(message, images)

    def _play_back(self, replay: Replay, now_ns: int) -> None:
        """Show what the time line stands at, where that has changed and lies back."""
        index = replay.advance(now_ns)
        self.shown.stand_still(replay.is_back or not replay.playing, now_ns)
        self._seek(replay, now_ns)
        if index is not None:
            past = [replay.history[before].pose_set for before in range(max(0, index - TRAIL_SETS), index + 1)]
            self._show_past(replay, past, replay.history[index], now_ns)
            self._sought = None
            if self._seeker is not None and replay.history[index].lacks_images:
                self._seek_for(self._seeker, past[-1])

    def _seek(self, replay: Replay, now_ns: int) -> None:
        """Ask for the pictures of where the time line stands, where it is neither kept nor estimated; show what was
        found meanwhile, unless something else is wanted by now."""
        if self._seeker is None:
            return
        if replay.sought_ns is None and isinstance(self._sought, int):
            self._sought = None
        elif replay.sought_ns is not None and replay.sought_ns != self._sought:
            self._seek_for(self._seeker, replay.sought_ns)
        found = self._seeker.found()
        # While the time line is dragged or plays, what was asked for a moment ago is as good.
        same = found is not None and (
            found.place is self._sought or (isinstance(found.place, int) and isinstance(self._sought, int))
        )
        if found is None or not same or not (replay.is_ahead or replay.is_back):
            return
        self._show_past(replay, [found.pose_set], found, now_ns)

    def _show_past(self, replay: Replay, past: Sequence[PoseSet], feed: Feed, now_ns: int) -> None:
        """The last of these sets, with the images of a feed and the way there."""
        self._scene.restart_trails([drawn_hands(pose_set) for pose_set in past])
        self.shown.show(past[-1], now_ns)
        if not replay.playing:
            self._overlay.forget_images()
        self._take_fresh(feed, now_ns)

    def _seek_for(self, seeker: Seeker, place: Place) -> None:
        self._sought = place
        seeker.seek(place)

    def update(self, now_ns: int) -> None:
        """Bring the scene up to date with messages, keys and mouse, to be drawn by the next `pump` or `capture`."""
        if self._replay is not None:
            self._play_back(self._replay, now_ns)
        self._eye.go_along(self.toggles.follow, self._scene.hands_centre_m, now_ns)
        view, through = self.view, self.camera_number
        self._overlay.take_reports(view.width, view.height, self.shown)
        scale = self._overlay.scale * self._fine
        self._options.line_width, self._options.point_size = _LINE_WIDTH * scale, _POINT_SIZE * scale
        self._scene.update(view, self.toggles, self.shown, now_ns, through, self._overlay.tiles, self.measure)
        distance = None if self.shown.is_gone(now_ns) else self.measure.distance(self._scene.poses)
        labels = self._scene.labels(self.toggles, self.shown, now_ns, distance)
        saved = self._eye.views.numbers()
        self._overlay.update(view, self.toggles, self.shown, now_ns, through, labels, saved, distance)

    def pump(self) -> bool:
        """Draw, and handle keys and mouse. False when the user wants to quit."""
        self._window.update_renderer()
        goes_on = self._window.poll_events() and not self._quit
        if self._undrawn is not None:
            self.shown.drawn(self._undrawn, time.monotonic_ns())
            self._undrawn = None
        return goes_on

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

    def use_theme(self, theme: palette.Theme) -> None:
        """Dark or light, from the next redraw on."""
        self._theme = theme
        palette.use(theme)
        self._options.background_color = palette.BACKGROUND
        self._scene.recolour()
        self._overlay.recolour()

    def click(self, pixel: np.ndarray) -> None:
        """A click of the mouse: the joint there is one end of a distance."""
        self.measure.click(pixel, self._scene.poses, self.view, self._overlay.scale)

    def _act(self, action: str, number: int) -> None:
        """What a key does; `number` tells the keys of one row apart."""
        if hasattr(self.toggles, action):
            self.toggles.flip(action)
            return
        match action:
            case "place":
                self._eye.go_to_place(number + 1)
            case "save":
                self._eye.save(number + 1)
            case "through":
                self._eye.look_through(number + 1)
            case "through more":
                self._eye.look_through(number + 9)
            case "reset":
                self.reset_view()
            case "pause":
                self.shown.toggle_pause(time.monotonic_ns())
            case "theme":
                self.use_theme("light" if self._theme == "dark" else "dark")
            case "quit":
                self._quit = True
            case _ if self._replay is not None:
                _act_on(self._replay, action, number)

    def _register_keys(self) -> None:
        bound: dict[int, dict[int, Callable[[], None]]] = {ord(letter): {} for letter in _UNUSED_KEYS}
        for key in self._keys:
            modifier, codes = codes_of(key)
            for number, code in enumerate(codes):
                bound.setdefault(code, {})[modifier] = lambda key=key, number=number: self._act(key.action, number)
        for letter, action in self._more_keys.items():
            bound[ord(letter)] = {0: action}
        for code, actions in bound.items():
            self._window.register_key_action_callback(code, _callback(code, actions))

    def _mouse_actions(self) -> MouseActions:
        scene, eye = self._scene, self._eye
        return MouseActions(
            turn=lambda across, down: eye.turn(across, down, scene.hands_centre_m),
            move=lambda across, down: eye.move(across, down, scene.hands_centre_m),
            roll=eye.roll,
            zoom=lambda steps: eye.zoom(steps, scene.hands_centre_m),
            click=self.click,
            press=self._press,
            held=self._hold,
        )

    def _press(self, pixel: np.ndarray) -> bool:
        """On the time line the mouse drags it, and plays and pauses at its left end."""
        on_it, time_ns = self._overlay.time_line_at(pixel, self.view.width)
        if on_it and self._replay is not None:
            self._replay.toggle_play() if time_ns is None else self._replay.drag_to(time_ns)
        return on_it

    def _hold(self, pixel: np.ndarray) -> None:
        time_ns = self._overlay.time_under(float(pixel[0]), self.view.width)
        if time_ns is not None and self._replay is not None:
            self._replay.drag_to(time_ns)


def _act_on(replay: Replay, action: str, number: int) -> None:
    """What a key does to a replay; `number` 0 is back or slower, 1 on or faster."""
    way = 1 if number else -1
    match action:
        case "play":
            replay.toggle_play()
        case "step":
            replay.step(way)
        case "second":
            replay.skip(way)
        case "ends":
            replay.go_to_end(newest=bool(number))
        case "speed":
            replay.change_speed(way)
        case "loop":
            replay.toggle_loop()


def _callback(code: int, actions: Mapping[int, Callable[[], None]]) -> Callable[..., bool]:
    """Open3D's callback for a key: by the modifier held, once for each press, and again while an arrow is held."""

    def act(_: o3d.visualization.Visualizer, event: int, modifiers: int) -> bool:
        action = actions.get(modifiers & (SHIFT | CTRL), actions.get(0))
        if (event == _PRESS or (event == _REPEAT and code in _REPEATED)) and action is not None:
            action()
        return False

    return act
