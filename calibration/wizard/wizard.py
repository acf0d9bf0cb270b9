"""The calibration wizard's step machine: board views in, captures and the next useful pose out.

Pure and deterministic: no camera, window, clock or file. The window feeds it and shows what it says; the journal keeps
what it captured (`calibration.wizard.journal`).
"""

from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from calibration.board.board import Board
from calibration.board.views import BoardView, Detections
from calibration.wizard.coverage import Coverage
from calibration.wizard.hints import Enough, Suggestion, is_enough, suggest

BoardState = Literal["unseen", "moving", "holding", "still"]


@dataclass(frozen=True, kw_only=True)
class WizardSettings:
    """When the wizard captures by itself.

    The board is still when no camera's median corner moved faster than `still_speed` (image widths a second) for
    `hold_s` and over `hold_sets` sets. A capture keeps the last `burst` sets, so that the solver sees the frame rate,
    and the motion that tells the cameras' time offsets. A view adds information where it fills `new_cells` of an image,
    or differs by `novelty` from all views of that camera; `link_novelty` is enough for pairs that still need
    shared views. After a capture the next has to wait for `rest_s`.
    """

    still_speed: float = 0.06
    hold_s: float = 0.15
    hold_sets: int = 2
    burst: int = 5
    new_cells: int = 2
    novelty: float = 0.25
    link_novelty: float = 0.08
    rest_s: float = 0.6
    enough: Enough = field(default_factory=Enough)


@dataclass(frozen=True)
class Capture:
    """One capture. `sets` are successive sets of views, oldest first; the last is the moment that counts.

    `reasons` say in words what it adds. The views' `frame` counts the captured images of their camera from 0.
    """

    number: int
    time_ns: int
    sets: tuple[Mapping[str, BoardView], ...]
    reasons: tuple[str, ...] = ()

    @property
    def views(self) -> Mapping[str, BoardView]:
        return self.sets[-1]


@dataclass(frozen=True, kw_only=True)
class WizardStep:
    """What one set of views led to.

    `hold` in [0, 1] says how much of the time to hold still is over; `speed` has cameras' corner speeds in image widths
    a second, where known. `note` says why a still board was not captured.
    """

    state: BoardState
    hold: float = 0.0
    speed: Mapping[str, float] = field(default_factory=dict)
    capture: Capture | None = None
    note: str = ""


class Wizard:
    """Decides what to capture and says what to do next.

    `image_size` lists all cameras in the order of the rig, (width, height).
    """

    def __init__(
        self, board: Board, image_size: Mapping[str, tuple[int, int]], settings: WizardSettings | None = None
    ) -> None:
        self.board = board
        self.image_size = dict(image_size)
        self.settings = settings or WizardSettings()
        self.captures: list[Capture] = []
        self.coverage = Coverage(board, self.image_size)
        self._recent: deque[tuple[int, dict[str, BoardView]]] = deque(maxlen=max(2, self.settings.burst))
        self._still_since_ns: int | None = None
        self._still_sets = 0
        self._undone: Capture | None = None

    def step(self, views: Mapping[str, BoardView], time_ns: int) -> WizardStep:
        """Take the views of one moment; captures where the board is still and the views add information."""
        settings = self.settings
        before = self._recent[-1] if self._recent else None
        self._recent.append((time_ns, dict(views)))
        speed = {} if before is None else self._speeds(before, (time_ns, views))
        if not views:
            self._still_since_ns = None
            return WizardStep(state="unseen")
        if not speed or before is None or max(speed.values()) > settings.still_speed:
            self._still_since_ns = None
            return WizardStep(state="moving", speed=speed)
        if self._still_since_ns is None:
            self._still_since_ns, self._still_sets = before[0], 1
        self._still_sets += 1
        held = min(
            (time_ns - self._still_since_ns) / (settings.hold_s * 1e9) if settings.hold_s > 0 else 1.0,
            self._still_sets / settings.hold_sets,
        )
        if held < 1:
            return WizardStep(state="holding", hold=held, speed=speed)
        if self.captures and 0 <= time_ns - self.captures[-1].time_ns < settings.rest_s * 1e9:
            return WizardStep(state="still", hold=1.0, speed=speed)
        reasons = self.gains(views)
        if not reasons:
            return WizardStep(state="still", hold=1.0, speed=speed, note="This pose adds nothing new: move on.")
        if self._undone is not None and not self._differs(views, self._undone.views):
            return WizardStep(state="still", hold=1.0, speed=speed, note="This capture was undone: move on.")
        return WizardStep(state="still", hold=1.0, speed=speed, capture=self._capture(reasons))

    def _speeds(
        self, before: tuple[int, Mapping[str, BoardView]], now: tuple[int, Mapping[str, BoardView]]
    ) -> dict[str, float]:
        """Median corner speed per camera in image widths a second, by the views' own times."""
        speeds = {}
        for camera_id, view in now[1].items():
            earlier = before[1].get(camera_id)
            if earlier is None:
                continue
            _, at, at_earlier = np.intersect1d(view.corner_ids, earlier.corner_ids, return_indices=True)
            seconds = (view.time_ns - earlier.time_ns) / 1e9
            if len(at) >= 3 and 0 < seconds < 1:
                moved = np.linalg.norm(view.corners_px[at] - earlier.corners_px[at_earlier], axis=1)
                speeds[camera_id] = float(np.median(moved)) / seconds / self.image_size[camera_id][0]
        return speeds

    def gains(self, views: Mapping[str, BoardView]) -> tuple[str, ...]:
        """What these views add to the captures, in words; empty where nothing."""
        settings = self.settings
        novelty: dict[str, float] = {}
        first_views, new_parts, new_poses = [], [], []
        for camera_id, view in views.items():
            covered, placed = self.coverage.cameras[camera_id], self.coverage.place(view)
            novelty[camera_id] = covered.novelty(placed)
            if not covered.views:
                first_views.append(camera_id)
            elif covered.new_cells(placed) >= settings.new_cells and novelty[camera_id] > settings.link_novelty:
                new_parts.append(camera_id)
            elif novelty[camera_id] >= settings.novelty:
                new_poses.append(camera_id)
        pairs = [
            (first, second)
            for (first, second), shared in self.coverage.shared.items()
            if first in views and second in views and shared < settings.enough.shared
            if shared == 0 or max(novelty[first], novelty[second]) >= settings.link_novelty
        ]
        reasons = []
        for what, camera_ids in (
            ("first view of", first_views),
            ("new part of the image of", new_parts),
            ("new pose for", new_poses),
        ):
            if camera_ids:
                reasons.append(f"{what} {', '.join(camera_ids)}")
        if pairs:
            together = " and ".join(pairs[0]) if len(pairs) == 1 else f"{len(pairs)} pairs"
            reasons.append(f"{together} together")
        return tuple(reasons)

    def _differs(self, views: Mapping[str, BoardView], other: Mapping[str, BoardView]) -> bool:
        place = self.coverage.place
        return any(
            camera_id not in other or place(view).distance(place(other[camera_id])) >= self.settings.novelty
            for camera_id, view in views.items()
        )

    def capture_now(self) -> Capture | None:
        """Capture the newest views whatever they add; None where no camera sees the board."""
        if not self._recent or not self._recent[-1][1]:
            return None
        if self.captures and self.captures[-1].time_ns == self._recent[-1][0]:
            return None
        return self._capture(("asked for",))

    def _capture(self, reasons: tuple[str, ...]) -> Capture:
        last_ns = self.captures[-1].time_ns if self.captures else None
        taken = [
            (time_ns, views)
            for time_ns, views in self._recent
            if views and (last_ns is None or time_ns > last_ns) and self._recent[-1][0] - time_ns < 1_000_000_000
        ]
        count = self.frame_counts()
        sets = []
        for _, views in taken:
            sets.append({camera_id: replace(view, frame=count[camera_id]) for camera_id, view in views.items()})
            count.update(views.keys())
        capture = Capture(len(self.captures) + 1, taken[-1][0], tuple(sets), reasons)
        self.captures.append(capture)
        self._undone = None
        self.coverage.add(capture.views)
        return capture

    def frame_counts(self) -> Counter[str]:
        """Captured images per camera."""
        return Counter(camera_id for capture in self.captures for views in capture.sets for camera_id in views)

    def undo(self) -> Capture | None:
        """Take the last capture back; None where there is none."""
        if not self.captures:
            return None
        self._undone = self.captures.pop()
        self._recount()
        return self._undone

    def restore(self, captures: Iterable[Capture]) -> None:
        """Go on from captures of an earlier run."""
        self.captures = list(captures)
        self._recount()

    def _recount(self) -> None:
        self.coverage = Coverage(self.board, self.image_size, (capture.views for capture in self.captures))

    def suggestion(self, absent: Collection[str] = ()) -> Suggestion:
        """The next useful pose; `absent` cameras deliver no images now."""
        return suggest(self.coverage, self.settings.enough, absent)

    @property
    def complete(self) -> bool:
        """Every camera and the links between them have enough."""
        return is_enough(self.coverage, self.settings.enough)

    def detections(
        self, *, legacy: bool | None = None, inverted: bool | None = None, mirrored: Collection[str] = ()
    ) -> Detections:
        """All captured views, as the solver takes them."""
        views: dict[str, list[BoardView]] = {camera_id: [] for camera_id in self.image_size}
        for capture in self.captures:
            for views_of_set in capture.sets:
                for camera_id, view in views_of_set.items():
                    views[camera_id].append(view)
        return Detections(
            views=views,
            image_size=dict(self.image_size),
            looked_at={camera_id: len(of_camera) for camera_id, of_camera in views.items()},
            rejected={},
            legacy=legacy,
            inverted=self.board.inverted if inverted is None else inverted,
            mirrored=tuple(mirrored),
        )
