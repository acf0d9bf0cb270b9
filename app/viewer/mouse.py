"""The mouse over the window: drags, the wheel, and clicks that are no drags."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import open3d as o3d

from app.viewer.keys import CTRL, SHIFT

_LEFT, _RIGHT, _MIDDLE = 0, 1, 2
_STILL_PX = 4


@dataclass(frozen=True, kw_only=True)
class MouseActions:
    """What the mouse does, in window pixels. `press` says whether it takes the drag that begins there; it then gets the
    places in `held`."""

    turn: Callable[[float, float], None]
    move: Callable[[float, float], None]
    roll: Callable[[float], None]
    zoom: Callable[[float], None]
    click: Callable[[np.ndarray], None]
    press: Callable[[np.ndarray], bool]
    held: Callable[[np.ndarray], None]


class Mouse:
    """Takes a window's mouse events, in place of what Open3D makes of them."""

    def __init__(self, window: o3d.visualization.VisualizerWithKeyCallback, actions: MouseActions) -> None:
        self._actions = actions
        self._at = np.zeros(2)
        self._pressed_at: np.ndarray | None = None
        self._drag: Callable[[np.ndarray], None] | None = None
        window.register_mouse_move_callback(lambda _, x, y: self.moved_to(float(x), float(y)))
        window.register_mouse_button_callback(
            lambda _, button, action, mods: self.button(button, bool(action), mods)  # pyright: ignore[reportArgumentType]
        )
        window.register_mouse_scroll_callback(lambda _, __, steps: self._scroll(float(steps)))

    def moved_to(self, x: float, y: float) -> bool:
        before, self._at = self._at, np.array([x, y])
        if self._pressed_at is not None and np.abs(self._at - self._pressed_at).max() > _STILL_PX:
            before, self._pressed_at = self._pressed_at, None
        if self._drag is not None and self._pressed_at is None:
            self._drag(self._at - before)
        return False

    def button(self, button: int, down: bool, mods: int) -> bool:
        if not down:
            if self._pressed_at is not None and button == _LEFT:
                self._actions.click(self._at)
            self._pressed_at = self._drag = None
            return False
        if button == _LEFT and self._actions.press(self._at):
            self._pressed_at, self._drag = None, lambda _: self._actions.held(self._at)
            return False
        self._pressed_at = self._at
        if button in (_RIGHT, _MIDDLE) or mods & CTRL:
            self._drag = lambda by: self._actions.move(*by)
        elif mods & SHIFT:
            self._drag = lambda by: self._actions.roll(by[0])
        else:
            self._drag = lambda by: self._actions.turn(*by)
        return False

    def _scroll(self, steps: float) -> bool:
        self._actions.zoom(steps)
        return False
