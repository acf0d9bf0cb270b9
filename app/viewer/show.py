"""Shows what a feed gives until it ends: in a window at a steady rate, or into a video without a screen.

The window is pumped on the main thread. It never waits for the feed and the feed never waits for it. Run in a process
of its own, so that a window that is covered, minimised or slow cannot slow anything else.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from app.run.process import stop
from app.run.pulse import pulse
from app.transport.messages import End, PoseSet, RecordingStatus
from app.viewer.feed import Feed
from app.viewer.palette import Theme
from app.viewer.redraws import Redraws
from app.viewer.replay import Replay
from app.viewer.saved_views import SavedViews
from app.viewer.seeker import Seeker
from app.viewer.stats import is_heartbeat
from app.viewer.video import Mp4Writer
from app.viewer.window import ViewerWindow
from calibration.errors import write_error
from calibration.rig import Rig
from calibration.written_files import write_atomic


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
    theme: Theme = "dark",
    views: SavedViews | None = None,
    replay: Replay | None = None,
    seeker: Seeker | None = None,
    redraws: Redraws | None = None,
    on_stay: Callable[[], None] = lambda: None,
    on_first_picture: Callable[[], None] = lambda: None,
    more_keys: Mapping[str, Callable[[], None]] | None = None,
) -> str:
    """Show what `feed` gives until it ends ("end") or the user quits ("quit"); returns which.

    `headless` renders to that mp4 without a screen: `rate_hz` pictures a second of wall time, or with `every_set`
    exactly one picture for each pose set, skipping none, however fast they come. `snapshot` is written as PNG at the
    end: the last view, headless the last one that showed the most hands. An exception (Ctrl-C too) still finishes
    both files. `on_first_picture` is called when one was drawn, `on_stay` while a `replay` that has ended is looked at;
    `redraws` counts those of a screen.

    Raises UserError where no window can be opened or a file cannot be written.
    """
    if headless is not None:
        with Mp4Writer(headless, *size, rate_hz) as video:
            # Smooth edges cost four times the pixels: they are for what need not keep up with the clock.
            fine = 2 if every_set or snapshot is not None else 1
            window = ViewerWindow(rig, feed, size=size, title=title, screen=False, fine=fine, theme=theme)
            return _run_headless(window, feed, video, rate_hz, snapshot, every_set, on_first_picture)
    window = ViewerWindow(
        rig,
        feed,
        size=size,
        title=title,
        theme=theme,
        views=views,
        replay=replay,
        seeker=seeker,
        more_keys=more_keys,
    )
    try:
        return _run_on_screen(window, feed, rate_hz, on_first_picture, on_stay, redraws or Redraws())
    finally:
        if snapshot is not None:
            window.update(time.monotonic_ns())
            _write_png(snapshot, window.capture())
        window.close()


def _run_on_screen(
    window: ViewerWindow,
    feed: Feed,
    rate_hz: float,
    on_first_picture: Callable[[], None],
    on_stay: Callable[[], None],
    redraws: Redraws,
) -> str:
    due_s = time.monotonic()
    first = True
    while True:
        began_s = time.monotonic()
        now_ns = time.monotonic_ns()
        window.receive(feed.poll(), now_ns)
        window.update(now_ns)
        pulse.work()
        if not window.pump():
            return "quit"
        redraws.add(began_s, time.monotonic())
        if first:
            first = False
            on_first_picture()
        if stop.is_set():
            return "end"
        if window.shown.ended is not None:
            if not window.stays:
                return "end"
            on_stay()
        # A tick that is late by more than one starts the clock anew: no burst makes up for a window that was blocked.
        due_s = max(due_s + 1 / rate_hz, time.monotonic() - 1 / rate_hz)
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

    def draw(messages: Sequence[PoseSet | End | RecordingStatus], number: int) -> None:
        nonlocal best, most_hands
        now_ns = time.monotonic_ns()
        window.receive(messages, now_ns)
        window.update(now_ns)
        picture = window.capture()
        video.write(picture, number)
        pulse.work()
        if video.frames == 1:
            on_first_picture()
        hands = window.shown.hands(now_ns)
        if best is None or hands >= most_hands:
            best, most_hands = picture, hands

    try:
        while window.shown.ended is None and not stop.is_set():
            messages = feed.poll()
            pulse.beat()
            if every_set:
                for message in messages:
                    if stop.is_set():
                        break
                    if isinstance(message, PoseSet) and not is_heartbeat(message):
                        draw([message], video.frames)
                    else:
                        window.receive([message], time.monotonic_ns())
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
        raise write_error(f"{path}: cannot be written ({error.strerror}). Give another place.", error) from None
