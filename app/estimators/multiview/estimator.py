"""The estimator over any 2D detector: detections of all views, matched, tracked and triangulated."""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np

from app.estimators.detection import Detection, Detector, Region
from app.estimators.estimator import Estimate, Hand
from app.estimators.multiview.association import (
    Proposals,
    assign,
    choose_hands,
    distances,
    gather,
    merge_duplicates,
    pair_proposals,
)
from app.estimators.multiview.camera_trust import CameraTrust
from app.estimators.multiview.gating import explained_by_tracks
from app.estimators.multiview.hand_fit import confidence, fit_hands, motion_terms, quick_fit
from app.estimators.multiview.step import Match, Step, publish
from app.estimators.tracks import BoneLengthPrior, Motion, Track, decide_sides
from calibration.frames import Frame, FrameSet
from calibration.rig import Rig

_MAX_SPEED_M_S = 3.0
_NEAR_M = 0.08
_SEARCH_PERIOD_NS = 40_000_000
_SURE_STD_M = 0.02
_MEASURED_STD_M = 0.004


class MultiViewEstimator:
    """At most two hands of one person from any two or more views of a rig, with any 2D detector.

    A hand whose track is sure is looked for around its predicted projection; while fewer than two are, whole images are
    searched as well: all of them while nothing is tracked or a track was just lost, else as many per set as the time
    between sets allows, in turn. `threads` detector calls run side by side (default: one per processor, at most one
    per camera).
    """

    def __init__(self, rig: Rig, detector: Detector, threads: int | None = None) -> None:
        self.rig = rig
        self.detector = detector
        self.name = detector.name
        # The calling thread detects, too.
        self._helpers = (threads or min(os.cpu_count() or 1, len(rig.cameras))) - 1
        self._pool = ThreadPoolExecutor(max(self._helpers, 1), "detect")
        self._tracks: list[Track] = []
        self._lengths = {side: BoneLengthPrior() for side in (True, False)}
        self._trust = CameraTrust()
        self._next_id = 1
        self._turn = 0
        self._credit = 0.0
        self._last_time_ns: int | None = None

    def estimate(self, frame_set: FrameSet) -> Estimate:
        """The hands at `frame_set.reference_time_ns`. Sets must come in order of time.

        In a set of fewer than two views no image is searched, so its `detections` is 0.
        """
        start = time.perf_counter()
        now_ns = frame_set.reference_time_ns
        cameras = [camera for camera in self.rig.cameras if camera.camera_id in frame_set.frames]
        frames = [frame_set.frames[camera.camera_id] for camera in cameras]
        self._tracks = [track for track in self._tracks if track.alive(now_ns)]
        if len(cameras) < 2:
            self._missed(self._tracks)
            self._last_time_ns = now_ns
            return Estimate([])
        ids = [camera.camera_id for camera in cameras]
        predictions = [track.motion.predict(now_ns) for track in self._tracks]
        step = Step(
            cameras=cameras, frames=frames, now_ns=now_ns, predictions=predictions, std_scale=self._trust.std_scale(ids)
        )

        searched = self._search_plan(frames, now_ns)
        regions = step.regions(step.predicted_in_view_m, np.ones((len(predictions), len(cameras)), dtype=bool))
        found = self._detect(frames, regions, searched)
        detect_s = time.perf_counter() - start

        start = time.perf_counter()
        hands = self._match(step, found)
        match_s = time.perf_counter() - start

        start = time.perf_counter()
        again = self._second_look(step, hands, found, searched)
        detect_s += time.perf_counter() - start
        if again:
            start = time.perf_counter()
            hands = self._match(step, found)
            match_s += time.perf_counter() - start

        start = time.perf_counter()
        result = self._solve(step, hands)
        triangulate_s = time.perf_counter() - start
        self._last_time_ns = now_ns
        stages = {"detect": detect_s * 1e3, "match": match_s * 1e3, "triangulate": triangulate_s * 1e3}
        used = sum(len(hand.detections_px) for hand in result)
        return Estimate(result, sum(len(hits) for hits in found), used, stages)

    def begin(self, frame_set: FrameSet) -> Callable[[], Estimate]:
        """All of it: nothing of a set is known before it is matched to the hands of the set before."""
        estimate = self.estimate(frame_set)
        return lambda: estimate

    def close(self) -> None:
        self._pool.shutdown()
        self.detector.close()

    def _search_plan(self, frames: list[Frame], now_ns: int) -> list[bool]:
        """Which views are searched as a whole, besides the regions of the tracks."""
        sure = sum(track.sure and not track.misses for track in self._tracks)
        if sure == 2:
            return [False] * len(frames)
        if sure == 0 or self._last_time_ns is None:
            return [True] * len(frames)
        self._credit = min(self._credit + (now_ns - self._last_time_ns) / _SEARCH_PERIOD_NS, len(frames))
        # A hand is found where two views see it, so one view alone is never searched.
        budget = int(self._credit) if self._credit >= 2 else 0
        self._credit -= budget
        chosen = {(self._turn + offset) % len(frames) for offset in range(budget)}
        self._turn = (self._turn + budget) % len(frames)
        return [view in chosen for view in range(len(frames))]

    def _detect(
        self, frames: Sequence[Frame], regions: Sequence[list[Region]], searched: Sequence[bool]
    ) -> list[list[Detection]]:
        found: list[list[Detection]] = [[] for _ in frames]
        views = iter(range(len(frames)))

        def work() -> None:
            # The threads share the iterator, so each view goes to one of them.
            for view in views:
                found[view] = self.detector.detect(frames[view], regions[view], searched[view])

        helpers = [self._pool.submit(work) for _ in range(min(self._helpers, len(frames) - 1))]
        try:
            work()
        finally:
            wait(helpers)
        for helper in helpers:
            helper.result()
        return found

    def _match(self, step: Step, found: list[list[Detection]]) -> list[Match]:
        """The hands among the detections, each linked to its track."""
        step.seen = seen = gather(step.cameras, found, step.std_scale)
        if all(track.sure for track in self._tracks):
            rows = explained_by_tracks(step.T_cam_world, seen, step.predicted_in_view_m)
            if rows is not None:
                return self._match_tracks(step, rows)
        return self._match_anew(step)

    def _match_tracks(self, step: Step, rows: np.ndarray) -> list[Match]:
        """The tracks as hands, of the detections `rows` (T, V) that they explain."""
        links = np.flatnonzero((rows >= 0).any(1))
        rows = rows[links]
        gain, shift = motion_terms([step.predictions[link] for link in links], step.lag_s)
        in_view = step.predicted_in_view_m[links]
        if (rows < 0).any():
            # To look again for what is missing, where the views that have it say it is.
            in_view = quick_fit(step.T_cam_world, step.seen, rows, gain, shift)
        return [
            Match(
                link=int(link),
                right=self._tracks[link].right_log_odds >= 0,
                rows=rows[hand],
                gain=gain[hand],
                shift_m=shift[hand],
                in_view_m=in_view[hand],
            )
            for hand, link in enumerate(links)
        ]

    def _match_anew(self, step: Step) -> list[Match]:
        """The hands that explain the detections best, of all that tracks and pairs of detections propose."""
        seen, views = step.seen, len(step.cameras)
        side = np.array([track.right_log_odds for track in self._tracks])
        predicted = step.predicted_in_view_m
        gain, shift = motion_terms([*step.predictions, None], step.lag_s)
        pairs = pair_proposals(step.T_cam_world, seen, gain, shift)
        side_of_pairs = np.zeros(len(pairs))
        if len(side) and len(pairs):
            apart = np.linalg.norm((pairs[:, None] - predicted[None]).mean((2, 3)), axis=-1)
            side_of_pairs = (side * np.exp(-((apart / _NEAR_M) ** 2))).sum(1)
        proposals = Proposals(np.concatenate([predicted, pairs]), np.concatenate([side, side_of_pairs]))
        chosen = choose_hands(step.T_cam_world, seen, proposals)
        if not chosen:
            return []
        rights = [right for _, right, _ in chosen]
        rows = np.stack([rows for _, _, rows in chosen])
        # Matched once more against what the matched views together say, which is nearer than any proposal.
        centres = proposals.in_view_m[[index for index, _, _ in chosen]].mean((1, 2))
        links = self._link(step, centres, rights)
        gain, shift = motion_terms([step.predictions[k] if k >= 0 else None for k in links], step.lag_s)
        in_view = quick_fit(step.T_cam_world, seen, rows, gain, shift)
        better = assign(distances(step.T_cam_world, seen, in_view), seen, rights, views)
        return [
            Match(
                link=link,
                right=right,
                rows=new if (new >= 0).sum() >= 2 else old,
                gain=gain[hand],
                shift_m=shift[hand],
                in_view_m=in_view[hand],
            )
            for hand, (link, right, new, old) in enumerate(zip(links, rights, better, rows, strict=True))
        ]

    def _link(self, step: Step, centres_m: np.ndarray, rights: list[bool]) -> list[int]:
        """The track of each hand, -1 for a new one: by place, and by side where that is evident."""
        if not self._tracks:
            return [-1] * len(rights)
        cost = np.full((len(rights), len(self._tracks)), np.inf)
        for hand, (centre, right) in enumerate(zip(centres_m, rights, strict=True)):
            for index, (track, motion) in enumerate(zip(self._tracks, step.predictions, strict=True)):
                distance = float(np.linalg.norm(centre - motion.position_m.mean(0)))
                elapsed_s = (step.now_ns - track.seen_time_ns) * 1e-9
                if distance < 0.1 + _MAX_SPEED_M_S * elapsed_s:
                    against = max(0.0, -track.right_log_odds if right else track.right_log_odds)
                    cost[hand, index] = distance + 0.02 * against
        links = [-1] * len(rights)
        while np.isfinite(cost).any():
            hand, index = np.unravel_index(cost.argmin(), cost.shape)
            links[hand] = int(index)
            cost[hand], cost[:, index] = np.inf, np.inf
        return links

    def _second_look(self, step: Step, hands: list[Match], found: list[list[Detection]], searched: list[bool]) -> bool:
        """Detect again where a hand that is now known was not found; all images where a track was lost.

        Adds to `found`; True where something was added.
        """
        lost = len(hands) < len(self._tracks) and not all(searched)
        views = range(len(step.cameras))
        missing = np.array([hand.rows < 0 for hand in hands]).reshape(len(hands), len(views))
        regions: list[list[Region]] = [[] for _ in views]
        if missing.any():
            regions = step.regions(np.stack([hand.in_view_m for hand in hands]), missing)
        again = [lost and not searched[view] for view in views]
        wanted = [view for view in views if regions[view] or again[view]]
        if not wanted:
            return False
        hits = self._detect(
            [step.frames[view] for view in wanted],
            [regions[view] for view in wanted],
            [again[view] for view in wanted],
        )
        before = sum(len(detections) for detections in found)
        for view, detections in zip(wanted, hits, strict=True):
            found[view] = merge_duplicates([*found[view], *detections])
        return sum(len(detections) for detections in found) > before

    def _solve(self, step: Step, matches: list[Match]) -> list[Hand]:
        if not matches:
            self._missed(self._tracks)
            return []
        tracks = [self._follow(step, match) for match in matches]
        sides = decide_sides(tracks)
        fit = fit_hands(
            step.cameras,
            step.T_cam_world,
            step.seen,
            np.stack([match.rows for match in matches]),
            np.stack([match.gain for match in matches]),
            np.stack([match.shift_m for match in matches]),
            [self._lengths[side].prior() for side in sides],
        )
        self._trust.learn([camera.camera_id for camera in step.cameras], fit.residuals * step.std_scale)
        self._missed([track for track in self._tracks if track not in tracks])
        certain = confidence(fit)
        variance = np.einsum("hjaa->hj", fit.covariance_m2) / 3
        hands = []
        for index, (match, track, right) in enumerate(zip(matches, tracks, sides, strict=True)):
            self._learn(step, track, match, fit.joints_m[index], variance[index])
            if len(match.views) >= 3 and _middle(fit.inliers[index].sum(-1)) >= 3:
                self._lengths[right].add(fit.free_joints_m[index])
            hands.append(publish(step, match, track, right, fit, certain, index))
        self._tracks = tracks + [track for track in self._tracks if track not in tracks]
        self._tracks = self._tracks[:2]
        return hands

    @staticmethod
    def _missed(tracks: list[Track]) -> None:
        for track in tracks:
            track.misses += 1
            track.sure = False

    def _follow(self, step: Step, match: Match) -> Track:
        """The match's track, a new one where it has none, told what the views say of its side."""
        if match.link >= 0:
            track = self._tracks[match.link]
        else:
            track = Track(track_id=self._next_id, motion=Motion.start(step.now_ns, np.zeros((21, 3)), np.ones(21)))
            self._next_id += 1
        track.listen(step.seen.right[match.rows[match.views]])
        return track

    @staticmethod
    def _learn(step: Step, track: Track, match: Match, joints: np.ndarray, variance: np.ndarray) -> None:
        """Tell the track its joints (21, 3) and their variances (21,)."""
        measured = np.maximum(variance, _MEASURED_STD_M**2)
        if match.link >= 0:
            track.motion = step.predictions[match.link].update(joints, measured)
        else:
            track.motion = Motion.start(step.now_ns, joints, measured)
        track.seen_time_ns, track.misses = step.now_ns, 0
        track.sets += 1
        track.sure = _middle(variance) < _SURE_STD_M**2


def _middle(values: np.ndarray) -> float:
    """The median of one value per joint (21,), NaN counting as large."""
    return float(np.sort(values)[len(values) // 2])
