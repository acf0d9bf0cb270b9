"""The estimator over any 2D detector: detections of all views, matched, tracked and triangulated."""

import time
from collections.abc import Callable

import numpy as np

from app.estimators.camera_trust import CameraTrust
from app.estimators.detection import Detection, Detector, Region, merge_duplicates
from app.estimators.estimator import Estimate, Hand, UnseenHand
from app.estimators.multiview.detection_batch import gather, views_with_hand
from app.estimators.multiview.hand_fit import HandFit, confidence, fit_hands
from app.estimators.multiview.matching import match
from app.estimators.multiview.sights import exchanged_pair, sights
from app.estimators.multiview.step import Match, Step, to_hand
from app.estimators.settings import AssociationSettings, TrackerSettings
from app.estimators.tracks import HandTrack, HandTracks, decide_sides, middle, miss_all
from app.estimators.view_watch import ViewWatch
from calibration.frames import Frame, FrameSet
from calibration.hand import Definition
from calibration.rig import Rig
from models.hand.bone_lengths import BoneLengths

# Of a whole image, while some hands are followed: at 30 sets a second hardly one a set, which costs a palm detection.
_SEARCH_PERIOD_NS = 40_000_000
# Error of a joint's place before its first measurement: none of that place counts.
_NEVER_SEEN_M = 1.0


class MultiViewEstimator:
    """At most so many `hands` from any two or more views of a rig, with any 2D detector.

    A hand whose track is sure is looked for around its predicted projection; while fewer are, whole images are
    searched as well: all of them while nothing is tracked or a track was just lost, else as many per set as the time
    between sets allows, in turn. `definition` says where on the hand the detector's keypoints lie.
    """

    def __init__(
        self,
        rig: Rig,
        detector: Detector,
        hands: int = 2,
        tracker: TrackerSettings = TrackerSettings(),  # noqa: B008 - frozen
        association: AssociationSettings = AssociationSettings(),  # noqa: B008 - frozen
        definition: Definition = "detector",
    ) -> None:
        self.rig = rig
        self.definition: Definition = definition
        self.detector = detector
        self.name = detector.name
        self._tracks: HandTracks[HandTrack] = HandTracks(hands, tracker)
        self._association = association
        self._trust = CameraTrust()
        self._watch = ViewWatch()
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
        self._tracks.drop_lost(now_ns)
        if len(cameras) < 2:
            self._last_time_ns = now_ns
            return Estimate(hands=[], looked=False, unseen=self._unseen([], now_ns, looked=False))
        ids = [camera.camera_id for camera in cameras]
        std_scale = self._trust.std_scale(ids)
        bad = self._watch.left_out(ids)
        left_out = np.array([camera_id in bad for camera_id in ids])
        step = Step(
            cameras=cameras, frames=frames, now_ns=now_ns, tracks=self._tracks, std_scale=std_scale, left_out=left_out
        )

        searched = self._search_plan(frames, now_ns)
        regions = step.regions(step.predicted_in_view_m, np.ones((len(self._tracks), len(cameras)), dtype=bool))
        found = self.detector.detect(frames, regions, searched)
        detect_s = time.perf_counter() - start

        start = time.perf_counter()
        hands = self._match(step, found)
        match_s = time.perf_counter() - start

        start = time.perf_counter()
        again = self._second_look(step, hands, found, regions, searched)
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
        return Estimate(
            hands=result,
            unseen=self._unseen(result, now_ns, looked=True),
            notes=self._watch.notes(),
            detections=sum(len(hits) for hits in found),
            detections_used=used,
            views_with_hand=views_with_hand(step.all_detections),
            stage_ms=stages,
        )

    def begin(self, frame_set: FrameSet) -> Callable[[], Estimate]:
        """All of it: nothing of a set is known before it is matched to the hands of the set before."""
        estimate = self.estimate(frame_set)
        return lambda: estimate

    def close(self) -> None:
        self.detector.close()

    def _unseen(self, seen: list[Hand], now_ns: int, looked: bool) -> list[UnseenHand]:
        ids = {hand.track_id for hand in seen}
        return [
            track.unseen("right" if track.right_log_odds >= 0 else "left", now_ns, looked)
            for track in self._tracks
            if track.track_id not in ids and track.present and track.seen_time_ns < now_ns
        ]

    def _search_plan(self, frames: list[Frame], now_ns: int) -> list[bool]:
        """Which views are searched as a whole, besides the regions of the tracks."""
        sure = sum(track.sure and not track.misses for track in self._tracks)
        if sure == self._tracks.limit:
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

    def _match(self, step: Step, found: list[list[Detection]]) -> list[Match]:
        step.detections = step.all_detections = gather(step.cameras, found, step.std_scale)
        if step.left_out.any():
            trusted = [[] if bad else hits for bad, hits in zip(step.left_out, found, strict=True)]
            step.detections = gather(step.cameras, trusted, step.std_scale)
        return match(step, self._association)

    def _second_look(
        self,
        step: Step,
        hands: list[Match],
        found: list[list[Detection]],
        looked: list[list[Region]],
        searched: list[bool],
    ) -> bool:
        """Detect again where a hand that is now known was not found nor `looked` for; all images if a track was lost.

        Adds to `found`; True where something was added.
        """
        lost = len(hands) < len(self._tracks) and not all(searched)
        views = range(len(step.cameras))
        missing = np.array([hand.rows < 0 for hand in hands], bool).reshape(len(hands), len(views)) & ~step.left_out
        regions: list[list[Region]] = [[] for _ in views]
        if missing.any():
            missed = step.regions(np.stack([hand.in_view_m for hand in hands]), missing)
            regions = [
                [region for region in of_view if not any(region.is_near(other) for other in asked)]
                for of_view, asked in zip(missed, looked, strict=True)
            ]
        again = [lost and not searched[view] for view in views]
        wanted = [view for view in views if regions[view] or again[view]]
        if not wanted:
            return False
        hits = self.detector.detect(
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
            miss_all(self._tracks)
            return []
        known = [self._tracks[match.link] if match.link >= 0 else None for match in matches]
        miss_all(track for track in self._tracks if track not in known)
        fit = fit_hands(
            step.cameras,
            step.T_cam_world,
            step.detections,
            np.stack([match.rows for match in matches]),
            np.stack([match.gain for match in matches]),
            np.stack([match.shift_m for match in matches]),
            [track.bones if track else BoneLengths() for track in known],
        )
        self._trust.learn([camera.camera_id for camera in step.cameras], fit.residuals * step.std_scale)
        self._watch_views(step, matches, fit)
        tracks = [self._follow(step, fit, index, *each) for index, each in enumerate(zip(matches, known, strict=True))]
        self._tracks.put_first(tracks)
        sides = decide_sides([track.right_log_odds for track in tracks], self._tracks.settings)
        certain = confidence(fit)
        return [
            to_hand(step, match, track, right, fit, certain, index)
            for index, (match, track, right) in enumerate(zip(matches, tracks, sides, strict=True))
            if track.present
        ]

    def _watch_views(self, step: Step, matches: list[Match], fit: HandFit) -> None:
        self._watch.learn(sights(step, matches, fit))
        doubtful = [camera.camera_id for camera in step.cameras if camera.camera_id in self._watch.doubtful]
        if len(doubtful) >= 2 and self._watch.exchanged is None:
            self._watch.exchanged = exchanged_pair(step, fit, doubtful, self._association)

    def _follow(self, step: Step, fit: HandFit, index: int, match: Match, track: HandTrack | None) -> HandTrack:
        """The match's track, a new one where it has none, told what the views say of it."""
        joints_m = fit.joints_m[index]
        variance_m2 = np.einsum("jaa->j", fit.covariance_m2[index]) / 3
        if track is None:
            track = self._tracks.new(HandTrack, step.now_ns, joints_m, _NEVER_SEEN_M**2)
        track.see(step.now_ns, joints_m, variance_m2)
        seen = match.rows[match.views]
        track.add_handedness_evidence(step.detections.right[seen])
        track.add_presence_evidence(step.detections.presence[seen])
        if match.link < 0:
            self._tracks.add(track)
        agreeing = min(len(match.views), middle(fit.inliers[index].sum(-1)))
        if agreeing >= min(np.sum(~step.left_out), 3):
            track.bones.add(fit.free_joints_m[index])
        return track
