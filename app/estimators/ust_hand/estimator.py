"""The estimator of the project's own network: crops around the predicted hand, two engines, a ring of clouds per hand.

A hand is found first by a finder (a `HandFinder`), then followed by its own projection: the crop of the next set lies
where its motion says. It is lost when what the views say does not fit together any more, and is then looked for again.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from app.estimators.camera_trust import CameraTrust
from app.estimators.estimator import Estimate, Hand, UnseenHand
from app.estimators.settings import FinderSettings, JudgeSettings, TrackerSettings
from app.estimators.tracks import HandTracks, decide_sides, same_hand
from app.estimators.ust_hand.hand_finder import Found, HandFinder
from app.estimators.ust_hand.hand_in_crops import HandInCrops
from app.estimators.ust_hand.hand_views import HandViews, cameras_on, errors_px, show_a_hand
from app.estimators.ust_hand.second_look import SecondLook
from app.estimators.ust_hand.shared_pictures import made_of_others
from app.estimators.ust_hand.view_trust import HandLook, ViewTrust
from app.estimators.view_watch import ViewWatch
from calibration.frames import FrameSet
from calibration.hand import Definition, bone_lengths
from calibration.rig import Rig
from deploy.batches import Refined, Stage1Keypoints, empty_crops
from deploy.engines.engine import HandRing
from deploy.pipeline.pipeline import Pipeline
from models.hand.crop import hand_box, hand_turn
from models.hand.pose_prior import PosePriorSettings, as_a_hand
from models.hand.seen_points import towards_points, triangulate_seen


class _CropsInSet(NamedTuple):
    """A hand's views in one set, and the frame that they became in its ring."""

    track: HandInCrops
    views: HandViews
    ring: HandRing
    frame: int


@dataclass(kw_only=True)
class _BegunSet:
    """A set of which stage 1 is done: the `keypoints` that it found in the hands' crops, and how to refine them; by
    track number the `looks` at all views, of hands that have put some aside."""

    now_ns: int
    crops: list[_CropsInSet]
    looks: dict[int, HandLook]
    keypoints: Stage1Keypoints
    refine: Callable[[], Refined | None]
    stage_ms: dict[str, float]
    views_with_hand: int


class UstHandEstimator:
    """Hands, as many as the pipeline has slots for, from any two or more views of a rig.

    `finder` looks for the hands that are not followed; it is asked now and then while some are. `newest_only`: sets are
    left out that come while one is estimated.
    """

    name = "ust-hand"

    def __init__(
        self,
        rig: Rig,
        pipeline: Pipeline,
        finder: HandFinder,
        tracker: TrackerSettings = TrackerSettings(misses_to_lose=4),  # noqa: B008 - frozen
        search: FinderSettings = FinderSettings(),  # noqa: B008 - frozen
        judge: JudgeSettings = JudgeSettings(),  # noqa: B008 - frozen
        prior: PosePriorSettings = PosePriorSettings(),  # noqa: B008 - frozen
        newest_only: bool = False,
    ) -> None:
        self.rig = rig
        self.pipeline = pipeline
        self.definition: Definition = pipeline.engine.shape.definition
        self.finder = finder
        self._search, self._judging, self._prior = search, judge, prior
        self._tracks: HandTracks[HandInCrops] = HandTracks(pipeline.hands, tracker)
        self._lost: list[tuple[int, np.ndarray]] = []
        self._asked_ns: int | None = None
        self._newest_only, self._last_index = newest_only, -1
        self._begun_ns: int | None = None
        self._watch = ViewWatch()
        self._trust = CameraTrust()
        self._second_look = SecondLook(rig, pipeline, self._watch, judge)

    def estimate(self, frame_set: FrameSet) -> Estimate:
        """The hands at `frame_set.reference_time_ns`. Sets must come in order of time."""
        return self.begin(frame_set, ahead=False)()

    def begin(self, frame_set: FrameSet, ahead: bool = True) -> Callable[[], Estimate]:
        """`estimate` up to stage 1; what it returns does the rest, once, and before that of the next set.

        With `ahead` that may be in another thread while the next set begins: its crops then lie where the motion up to
        the last set that was done says.
        """
        now_ns, pipeline = frame_set.reference_time_ns, self.pipeline
        clock = time.perf_counter()
        with pipeline.lock:
            self._begun_ns = now_ns
            self._drop_lost(now_ns)
            self._turn_round()
            if len(frame_set.frames) < 2:
                self._skip(self._tracks)
                unseen = self._unseen([], now_ns, looked=False)
                return lambda: Estimate(hands=[], looked=False, unseen=unseen, notes=self._watch.notes())
            keeps_up = self._keeps_up(frame_set)
            seen_by = self._find(frame_set, keeps_up)
            find_ms = _since(clock)

            clock = time.perf_counter()
            places_m = self._places(now_ns, frame_set, keeps_up)
            bad = self._watch.left_out(list(frame_set.frames))
            for track in self._tracks:
                track.trust.put_aside(bad)
                into = pipeline.crops.hand(track.slot)
                track.views = track.look_where_trusted(
                    self.rig, frame_set, places_m[track.slot], pipeline.engine.shape.upright, into
                )
            seen = sorted((each for each in self._tracks if len(each.views.cameras) >= 2), key=lambda each: each.slot)
            self._miss([track for track in self._tracks if track not in seen], places_m)
            rings = [pipeline.ring(track.slot) for track in seen]
            looks = self._second_look.where_due(seen, frame_set, places_m)
        stage_ms = {"find": find_ms, "crop": _since(clock)}
        if not seen:
            unseen = self._unseen([], now_ns, looked=True)
            return lambda: Estimate(
                hands=[], unseen=unseen, notes=self._watch.notes(), views_with_hand=seen_by, stage_ms=stage_ms
            )

        clock = time.perf_counter()
        slots = [track.slot for track in seen]
        keypoints = pipeline.run_stage1(slots, [track.views.target_world_m for track in seen])
        stage_ms["stage1"] = _since(clock)
        crops = [_CropsInSet(track, track.views, ring, ring.count) for track, ring in zip(seen, rings, strict=True)]
        refine = pipeline.refine_later(slots) if ahead else partial(pipeline.refine, slots)
        begun = _BegunSet(
            now_ns=now_ns, crops=crops, looks=looks, keypoints=keypoints, refine=refine, stage_ms=stage_ms,
            views_with_hand=seen_by,
        )  # fmt: skip
        return partial(self._finish, begun)

    def _finish(self, begun: _BegunSet) -> Estimate:
        clock = time.perf_counter()
        refined = begun.refine()
        begun.stage_ms["stpt"] = _since(clock)

        clock = time.perf_counter()
        with self.pipeline.lock:
            hands = [] if refined is None else self._hands(begun, refined)
            unseen = self._unseen(hands, begun.now_ns, looked=True)
        begun.stage_ms["judge"] = _since(clock)
        used = sum(len(hand.detections_px) for hand in hands)
        return Estimate(
            hands=hands,
            unseen=unseen,
            notes=self._watch.notes(),
            detections=sum(len(each.views.cameras) for each in begun.crops),
            detections_used=used,
            views_with_hand=begun.views_with_hand,
            stage_ms=begun.stage_ms,
        )

    def _hands(self, begun: _BegunSet, refined: Refined) -> list[Hand]:
        """The hands to publish; their tracks learn from them."""
        judged: list[tuple[_CropsInSet, Hand | None, np.ndarray]] = []
        for index, crops in enumerate(begun.crops):
            if crops.track not in self._tracks:
                continue
            joints_m = crops.views.to_world_m(refined.joints_m[index].astype(np.float64))
            covariance_m2 = crops.views.turn @ refined.covariance_m2[index].astype(np.float64) @ crops.views.turn
            hand = self._judge(crops.track, crops.views, begun, index, joints_m, covariance_m2)
            judged.append((crops, hand, covariance_m2))
        found = self._one_of_each([hand for _, hand, _ in judged if hand is not None])
        published = {hand.track_id for hand in found} - made_of_others(found, self.rig, self._judging.same_picture)
        hands = []
        for (track, _, ring, frame), hand, covariance_m2 in judged:
            # Found elsewhere when the next set began: the track goes on from there, whatever this one says.
            overtaken = track.motion.time_ns > begun.now_ns
            if hand is None or hand.track_id not in published:
                ring.withdraw(frame)
                if not overtaken:
                    track.miss()
                continue
            joints_m = hand.joints_world_m
            if not overtaken:
                track.see(begun.now_ns, joints_m, np.einsum("jaa->j", covariance_m2) / 3)
                track.half_width_m += 0.2 * (hand_box(joints_m)[1] - track.half_width_m)
            hands.append(hand)
        self._second_look.tell_watch()
        if begun.now_ns == self._begun_ns:  # else stage 1 of the next set is at work for the slots that there are
            self._drop_lost(begun.now_ns)
        return hands

    def _turn_round(self) -> None:
        """Hands that turned out to be of the other side begin anew as those."""
        surely = self._tracks.settings.evidence_limit / 2
        doubted = [
            track
            for track in self._tracks
            if abs(track.right_log_odds) >= surely and (track.right_log_odds > 0) != (track.side == "right")
        ]
        if not doubted:
            return
        rights = decide_sides([track.right_log_odds for track in self._tracks], self._tracks.settings)
        for track, right in zip(list(self._tracks), rights, strict=True):
            if track in doubted and right == (track.right_log_odds > 0):
                track.side, track.pose = "right" if right else "left", None
                self.pipeline.remove_hand(track.slot)
                track.slot = self.pipeline.add_hand(hand_turn(track.mirror))

    def close(self) -> None:
        self.finder.close()
        self.pipeline.close()

    def _find(self, frame_set: FrameSet, keeps_up: bool) -> int:
        """Begin to follow what the finder finds beside the hands that are followed; one that was not where it was
        looked for is looked for by the finder, too, and followed from there. At a slow rate that is each of them, but
        where frames are skipped because sets take long. Gives the finder's `views_with_hand`, 0 where it was not asked.
        """
        now_ns, search = frame_set.reference_time_ns, self._search
        recent = self._asked_ns is not None and 0 <= now_ns - self._asked_ns < search.period_s * 1e9
        unseen = [track for track in self._tracks if now_ns - track.seen_time_ns >= search.missed_for_s * 1e9]
        missed = [track for track in unseen if keeps_up or track.misses or self._paused(track, now_ns)]
        if (self._tracks.full and not missed) or (len(self._tracks) and recent):
            return 0
        self._asked_ns = now_ns
        self._lost = [each for each in self._lost if 0 <= now_ns - each[0] < search.lost_for_s * 1e9]
        followed = [track for track in self._tracks if track not in missed]
        followed_m, lost_m = [track.joints_m for track in followed], [joints_m for _, joints_m in self._lost]
        trusted = frame_set.without(self._watch.left_out(list(frame_set.frames)))
        found = _beside(followed, self.finder.find(trusted, followed_m, lost_m), now_ns)
        for hand, same in zip(found, _of_missed(missed, found, now_ns), strict=True):
            evidence = [*(track.right_log_odds for track in self._tracks), hand.right_log_odds]
            rights = decide_sides(evidence, self._tracks.settings)
            is_new = not (self._tracks.full or self._tracks.near(now_ns, hand.joints_m))
            if same is not None:
                same.restart(now_ns, hand.joints_m, search.found_sd_m**2)
            elif is_new and rights[-1] == (hand.side == "right"):
                self._follow(hand, now_ns)
        return self.finder.views_with_hand

    def _follow(self, found: Found, now_ns: int) -> None:
        track = self._tracks.new(
            HandInCrops,
            now_ns,
            found.joints_m,
            self._search.found_sd_m**2,
            side=found.side,
            right_log_odds=found.right_log_odds,
            slot=self.pipeline.add_hand(hand_turn(found.side == "left")),
            half_width_m=hand_box(found.joints_m)[1],
            trust=ViewTrust(self._judging),
        )
        self._tracks.add(track)

    def _paused(self, track: HandInCrops, now_ns: int) -> bool:
        """Whether it was not looked for for so long that it may be anywhere."""
        return now_ns - track.seen_time_ns >= self._tracks.settings.keep_s * 1e9

    def _keeps_up(self, frame_set: FrameSet) -> bool:
        """Whether no set was left out since the last one because that took long."""
        last, self._last_index = self._last_index, frame_set.index
        return not self._newest_only or frame_set.index == last + 1

    def _places(self, now_ns: int, frame_set: FrameSet, keeps_up: bool) -> dict[int, np.ndarray]:
        """Where the joints (21, 3) of each slot's hand are to be expected: where its motion says or, where that is
        vague because the cameras are slow, where the network sees them in crops around there. Where frames are skipped
        because sets take long, a second look would make the next set's place vaguer still."""
        motions = {track.slot: track.motion.predict(now_ns) for track in self._tracks}
        places_m = {slot: motion.position_m for slot, motion in motions.items()}
        shape, most_m2 = self.pipeline.engine.shape, self._search.vague_sd_m**2
        vague = [track for track in self._tracks if motions[track.slot].variance[:, 0, 0].mean() > most_m2]
        if not (shape.upright and vague and keeps_up):
            return places_m
        crops = empty_crops(len(vague), self.pipeline.views, shape.crop_px)
        looks = [
            track.look_where_trusted(self.rig, frame_set, places_m[track.slot], shape.upright, crops.hand(index))
            for index, track in enumerate(vague)
        ]
        clouds = self.pipeline.probe(crops)
        for index, (track, views) in enumerate(zip(vague, looks, strict=True)):
            count = len(views.cameras)
            if count < 2 or not show_a_hand(clouds.presence[index, :count], self._judging):
                continue
            joints_m = views.to_world_m(clouds.queries_m[index].astype(np.float64))
            apart = np.median(views.crop_distance(clouds.keypoints_px[index, :count], joints_m)) / shape.crop_px
            if np.isfinite(joints_m).all() and apart < self._judging.disagreement:
                places_m[track.slot] = joints_m
        return places_m

    def _judge(
        self,
        track: HandInCrops,
        views: HandViews,
        begun: _BegunSet,
        index: int,
        joints_m: np.ndarray,
        covariance_m2: np.ndarray,
    ) -> Hand | None:
        """The hand to publish, or None where what the views say is no hand."""
        judge, said = self._judging, begun.keypoints
        presence = said.presence[index, : len(views.cameras)]
        track.seen_in.learn([camera.camera_id for camera in views.cameras], presence.tolist())
        show = np.flatnonzero(presence >= judge.least_presence_of_view)
        finite = np.isfinite(joints_m).all() and np.isfinite(covariance_m2).all()
        if len(show) < 2 or not (finite and show_a_hand(presence, judge)):
            return None
        seen_px = said.keypoints_px[index, : len(views.cameras)].astype(np.float64)
        seen_views, views = views, views.only(show)
        keypoints_px, confidence = seen_px[show], said.confidence[index, show].astype(np.float64)
        alike_px = judge.alike_px(self.pipeline.engine.shape.crop_px)
        ids = [camera.camera_id for camera in views.cameras]
        std_scale = self._trust.std_scale(ids)
        seen = triangulate_seen(np.stack(views.P_crop), keypoints_px, confidence, alike_px, std_scale)
        self._trust.learn(ids, seen.residuals.T[None])
        alike_m = views.to_world_m(seen.alike_m)
        look = begun.looks.get(track.track_id) or HandLook(seen_views, seen_px, presence, alike_m)
        self._second_look.learn(track, look, joints_m)
        apart = views.crop_distance(keypoints_px, joints_m) / self.pipeline.engine.shape.crop_px
        if np.median(apart) > judge.disagreement:
            return None
        sized = self._is_of_a_hands_size(joints_m)
        std_m = np.sqrt(np.einsum("jaa->j", covariance_m2))
        if not (sized or (track.bones.known and std_m.mean() > judge.unsure_sd_m)):
            return None
        if sized:
            track.bones.add(joints_m)
        if self.pipeline.engine.shape.upright:
            joints_m = towards_points(joints_m, views.to_world_m(seen.joints_m), len(show))
        # Of two views of a quick hand the network errs in depth, and says so: the hand's bones then say where it is.
        joints_m, pose = as_a_hand(joints_m, covariance_m2, len(show), track.bones, track.side, track.pose, self._prior)
        if not sized:
            apart = views.crop_distance(keypoints_px, joints_m) / self.pipeline.engine.shape.crop_px
            if np.median(apart) > judge.view_elsewhere or not self._is_of_a_hands_size(joints_m):
                return None
        track.pose = pose
        right = said.right[index, show].astype(np.float64)
        track.add_handedness_evidence(1 - right if views.mirror else right)
        errors = errors_px(views, keypoints_px, joints_m, seen.blind_m)
        agree = apart < 2 * np.median(apart) + 0.02
        return Hand(
            side=track.side,
            track_id=track.track_id,
            capture_time_ns=begun.now_ns,
            joints_world_m=joints_m,
            covariance_m2=covariance_m2,
            confidence=agree.mean(0) / (1 + (std_m / judge.certain_sd_m) ** 2),
            detections_px={camera.camera_id: errors.keypoints_px[v] for v, camera in enumerate(views.cameras)},
            inliers={camera.camera_id: agree[v] for v, camera in enumerate(views.cameras)},
            reprojection_px=errors.reprojection_px[np.isfinite(errors.reprojection_px)],
            leave_one_out_px=errors.leave_one_out_px[np.isfinite(errors.leave_one_out_px)],
            right_log_odds=track.right_log_odds,
            bones=track.bones,
        )

    def _is_of_a_hands_size(self, joints_m: np.ndarray) -> bool:
        span_m = np.linalg.norm(joints_m - joints_m.mean(0), axis=1).max()
        least_m, most_m = self._judging.span_m
        return bool(least_m < span_m < most_m and bone_lengths(joints_m).max() <= self._judging.longest_bone_m)

    def _one_of_each(self, hands: list[Hand]) -> list[Hand]:
        """Two tracks in one place are one hand: the more confident one stays."""
        kept: dict[int, Hand] = {}
        for hand in sorted(hands, key=lambda hand: -float(hand.confidence.mean())):
            joints_m = hand.joints_world_m
            if any(same_hand(joints_m, other.joints_world_m, self._tracks.settings) for other in kept.values()):
                next(track for track in self._tracks if track.track_id == hand.track_id).ended = True
            else:
                kept[hand.track_id] = hand
        return [hand for hand in hands if hand.track_id in kept]

    def _miss(self, tracks: Sequence[HandInCrops], places_m: dict[int, np.ndarray]) -> None:
        """Of a set that looked: these have fewer than two views in it, as they are out of the pictures. Where it is for
        frames that did not come, they are not missed for a while: nobody could look for them."""
        now_ns = self._begun_ns or 0
        for track in tracks:
            if cameras_on(self.rig, places_m[track.slot]) < 2 or self._paused(track, now_ns):
                track.miss()
        self._skip(tracks)
        self._drop_lost(now_ns)

    def _skip(self, tracks: Iterable[HandInCrops]) -> None:
        """Of a set in which nobody looked for them."""
        for track in tracks:
            self.pipeline.ring(track.slot).miss()

    def _unseen(self, seen: list[Hand], now_ns: int, looked: bool) -> list[UnseenHand]:
        ids = {hand.track_id for hand in seen}
        return [
            track.unseen(track.side, now_ns, looked)
            for track in self._tracks
            if track.track_id not in ids and track.seen_time_ns < now_ns
        ]

    def _drop_lost(self, now_ns: int) -> None:
        for track in self._tracks.drop_lost(now_ns):
            self._lost = [*self._lost, (now_ns, track.joints_m)][-self._tracks.limit :]
            self.pipeline.remove_hand(track.slot)


def _beside(followed: Sequence[HandInCrops], found: Sequence[Found], now_ns: int) -> list[Found]:
    """Of the hands that a finder found those that are not followed. A quick hand is found far from where it was when
    it was last seen, two sets ago where sets overlap: each hand that is followed is the nearest of its side."""
    left = list(found)
    for track in followed:
        own = [hand for hand in left if hand.side == track.side and track.may_be_at(now_ns, hand.joints_m)]
        nearest = min(own, key=lambda hand: track.apart_m(now_ns, hand.joints_m), default=None)
        left = [hand for hand in left if hand is not nearest and not track.is_at(now_ns, hand.joints_m)]
    return left


def _of_missed(missed: Sequence[HandInCrops], found: Sequence[Found], now_ns: int) -> list[HandInCrops | None]:
    """Of each hand that a finder found the missed one that it is, the nearest pair first: of its side and no farther
    than it can have come, or in that one's place, where a finder that sees few of the hands may err about the side."""
    same: list[HandInCrops | None] = [None] * len(found)
    pairs: list[tuple[float, int, HandInCrops]] = []
    for index, hand in enumerate(found):
        for track in missed:
            other_side, at_place = track.side != hand.side, track.is_at(now_ns, hand.joints_m)
            if at_place or (not other_side and track.may_be_at(now_ns, hand.joints_m)):
                apart_m = track.apart_m(now_ns, hand.joints_m) + track.motion.settings.same_hand_m * other_side
                pairs.append((apart_m, index, track))
    for _, index, track in sorted(pairs, key=lambda pair: pair[0]):
        if same[index] is None and track not in same:
            same[index] = track
    return same


def _since(start_s: float) -> float:
    """Milliseconds."""
    return (time.perf_counter() - start_s) * 1e3
