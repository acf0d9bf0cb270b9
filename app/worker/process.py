"""The worker process: frame sets in, hands out.

Listens to: FrameHeader, CameraStatus (through the intake).
Emits: PoseSet for every frame set (and once a second while none comes), Pace (through the intake), Event, End.

Where there are cores for it, a set is finished in a thread of its own while the next one begins.

Writes the run's `summary.json` every few seconds and at the end, and the poses of a replay as they come.
"""

import json
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import msgspec

from app.assembly.intake import Intake
from app.estimators import make_detector, make_estimator
from app.estimators.estimator import Estimate, Hand, UnseenHand
from app.run.process import process_parser, run_process, stop
from app.run.pulse import pulse
from app.run.settings import RunFolder, RunSettings
from app.transport.keys import close_authenticator
from app.transport.messages import (
    AheadPose,
    ArmPose,
    CameraReport,
    End,
    FittedPose,
    Gesture,
    HandPose,
    PoseSet,
    UnseenPose,
)
from app.transport.sockets import NewestPublisher, Publisher, flush
from app.worker.arm_poses import ArmPoses
from app.worker.events import Events
from app.worker.gestures import Gestures
from app.worker.hand_meshes import HandMeshes
from app.worker.look_ahead import LookAhead
from app.worker.pose_file import PoseFile
from app.worker.run_summary import RunSummary, simulated_truth
from app.worker.timing import SetTiming, set_timing
from calibration.frames import FrameSet
from calibration.rig import Rig
from calibration.written_files import write_atomic

log = logging.getLogger(__name__)

_HEARTBEAT_S = 1.0
_SUMMARY_S = 5.0
_PROGRESS_S = 0.25
_BACKLOG = 64
_EVENT_BACKLOG = 10_000
# The recorder is waited for: it knows every camera within a second or two.
_RECORDER_S = 20.0
# Both engines use all cores by themselves; on two, another thread gains nothing.
_FEW_CORES = 2


class Worker:
    """Runs the estimator on the intake's sets until they end or the process is told to stop."""

    def __init__(self, rig: Rig, settings: RunSettings, folder: RunFolder) -> None:
        self._rig, self._settings, self._folder = rig, settings, folder
        self._policy = settings.policy
        self._poses = None
        if settings.poses:
            before = folder.begun("poses")  # by a worker of this run that died
            self._poses = PoseFile(Path(settings.poses), rig.camera_ids, goes_on=before.exists())
            before.touch()
        self._publisher = Publisher(_BACKLOG, waits=self._policy.shows_every_set)
        self._publisher.bind(folder.poses_address)
        self._newest: NewestPublisher | None = None
        if settings.publish and self._policy.newest_only:
            self._newest = NewestPublisher(settings.publish)
            log.info("poses are published at %s", self._newest.address)
        elif settings.publish:
            log.info("poses are published at %s", self._publisher.bind(settings.publish))
        self._events, self._event_publisher = Events(), Publisher(_EVENT_BACKLOG)
        self._event_publisher.bind(folder.events_address)
        if settings.events:
            log.info("events are published at %s", self._event_publisher.bind(settings.events))
        self._intake = Intake(rig, settings, folder)
        self._estimator = make_estimator(
            settings.estimator,
            rig,
            settings.seed,
            settings.checkpoint,
            settings.engine,
            make_detector(settings.detector, settings.engine if settings.estimator == "mediapipe" else "auto"),
            settings.hands,
            self._policy.newest_only,
        )
        if self._poses is not None:
            self._poses.begin(self._estimator.definition)
        # Of a recording the frames are grabbed when they are played: there is no light to count from.
        self._light_to_grab_ms = (
            {each.camera_id: each.latency.light_to_grab_ms for each in rig.cameras if each.latency is not None}
            if self._policy.newest_only
            else {}
        )
        self._summary = RunSummary(rig, simulated_truth(rig, settings))
        self._meshes = HandMeshes() if settings.mesh else None
        self._arms = None
        if settings.body:
            self._arms = ArmPoses(
                rig,
                hands=settings.hands,
                definition=self._estimator.definition,
                engine=settings.engine if settings.estimator == "mediapipe" else "auto",
                waits=not self._policy.newest_only,
            )
        self._gestures = Gestures()
        self._look_ahead = LookAhead(settings.predict_ms) if settings.predict_ms else None
        self._motion = None
        if settings.estimate_offsets:
            # Not in every run: what it imports of scipy takes half a second.
            from calibration.solve.hand_motion import TimeOffsetEstimator

            self._motion = TimeOffsetEstimator()
        # More would wait anyway: sets are finished in order, and the newest is the one to begin with.
        self._finisher = ThreadPoolExecutor(1, "finish") if _overlaps(settings) else None
        self._finishing: Future[None] | None = None
        self._told: dict[str, str] = {}
        self._sets = 0
        self._summary_at = self._sent_at = self._progress_at = -math.inf
        self._begun = False

    def run(self) -> None:
        reason = "stopped"
        self._intake.start()
        try:
            while not stop.is_set() and self._publisher.subscribers() < self._policy.viewers:
                stop.wait(0.05)
            self._wait_for_recorder()
            self._intake.release()
            log.info("worker: ready, estimator %s, cameras %s", self._estimator.name, ", ".join(self._rig.camera_ids))
            while not stop.is_set():
                pulse.beat()
                frame_set = self._intake.take(0.1)
                if frame_set is not None and frame_set.index % self._settings.every:
                    self._intake.done(frame_set)
                elif frame_set is not None:
                    self._process(frame_set)
                elif self._intake.ended:
                    reason = "the recording ended"
                    break
                elif time.monotonic() - self._sent_at > _HEARTBEAT_S:
                    self._wait()
                    self._publish(self._intake.reports(None))
                if self._settings.sets is not None and self._sets >= self._settings.sets:
                    reason = "the number of sets asked for was reached"
                    break
                self._tell_progress()
                if time.monotonic() - self._summary_at > _SUMMARY_S:
                    self._wait()
                    self._write_summary()
            self._wait()
        finally:
            self._finish(reason)

    def _tell_progress(self) -> None:
        """Of a replay: how many sets there were."""
        if not self._policy.newest_only and time.monotonic() - self._progress_at > _PROGRESS_S:
            self._progress_at = time.monotonic()
            self._folder.progress.write_text(str(self._sets))

    def _wait_for_recorder(self) -> None:
        """A recording has the frames of every set that is estimated."""
        until = time.monotonic() + _RECORDER_S
        if self._settings.record is None:
            return
        while not (stop.is_set() or self._folder.begun("recorder").exists()) and time.monotonic() < until:
            stop.wait(0.05)
        while (old := self._intake.take(0.0)) is not None:
            self._intake.done(old)

    def _process(self, frame_set: FrameSet) -> None:
        start_ns = time.monotonic_ns()
        self._sets += 1
        if self._finisher is None:
            self._finish_set(frame_set, start_ns, partial(self._estimator.estimate, frame_set))
            return
        rest = self._estimator.begin(frame_set)
        self._wait()
        self._finishing = self._finisher.submit(self._finish_set, frame_set, start_ns, rest)

    def _wait(self) -> None:
        """Until the set that is being finished is; raises what it raised."""
        if self._finishing is not None:
            finishing, self._finishing = self._finishing, None
            finishing.result()

    def _finish_set(self, frame_set: FrameSet, start_ns: int, estimate_it: Callable[[], Estimate]) -> None:
        estimate = estimate_it()
        within_ms, vertices = dict(estimate.stage_ms), {}
        end_ns = time.monotonic_ns()
        if self._meshes is not None:
            estimated_ns = end_ns
            vertices = self._meshes.fit(estimate.hands, self._estimator.definition)
            end_ns = time.monotonic_ns()
            within_ms["mesh"] = (end_ns - estimated_ns) / 1e6
        arms: dict[int, ArmPose] = {}
        if self._arms is not None:
            fitted_ns = end_ns
            arms = self._arms.of(frame_set, estimate.hands)
            end_ns = time.monotonic_ns()
            within_ms["body"] = (end_ns - fitted_ns) / 1e6
        followed = [hand.track_id for hand in (*estimate.hands, *estimate.unseen)]
        gestures = self._gestures.of(estimate.hands, self._estimator.definition, followed)
        poses = [
            _hand_pose(
                hand,
                vertices.get(hand.track_id),
                gestures[hand.track_id],
                self._meshes.fitted(hand.track_id) if self._meshes is not None else None,
                arms.get(hand.track_id),
            )
            for hand in estimate.hands
        ]
        ahead = self._forecast(estimate, frame_set.reference_time_ns)
        cameras = self._intake.reports(frame_set)
        self._tell(estimate.notes, cameras)
        timing = set_timing(
            frame_set, start_ns=start_ns, end_ns=end_ns, published_ns=time.monotonic_ns(), within_ms=within_ms,
            light_to_grab_ms=self._light_to_grab_ms,
        )  # fmt: skip
        self._publish(cameras, frame_set, poses, timing, estimate, ahead)
        self._intake.done(frame_set)
        self._keep(frame_set, estimate, timing, ahead, arms)
        pulse.work()

    def _tell(self, notes: Mapping[str, str], cameras: dict[str, CameraReport]) -> None:
        """What the estimator says of cameras: in their reports, and once in the log."""
        for camera_id, note in notes.items():
            if self._told.get(camera_id) != note:
                log.warning("camera %s: %s", camera_id, note)
            cameras[camera_id].detail = cameras[camera_id].detail or note
        for camera_id in self._told.keys() - notes.keys():
            log.info("camera %s: agrees with the others again", camera_id)
        self._told = dict(notes)

    def _forecast(self, estimate: Estimate, now_ns: int) -> list[AheadPose]:
        if self._look_ahead is None:
            return []
        return self._look_ahead.of(estimate.hands, estimate.unseen, now_ns, self._estimator.definition)

    def _keep(
        self,
        frame_set: FrameSet,
        estimate: Estimate,
        timing: SetTiming,
        ahead: Sequence[AheadPose],
        arms: Mapping[int, ArmPose],
    ) -> None:
        """For the summary, and for the files of a replay."""
        self._summary.add(estimate, timing, list(frame_set.frames))
        if self._poses is not None:
            self._poses.add(frame_set, estimate, ahead, arms)
        if self._motion is not None:
            times_ns = {camera_id: frame.capture_time_ns for camera_id, frame in frame_set.frames.items()}
            for hand in estimate.hands:
                self._motion.add(hand.track_id, hand.detections_px, times_ns)

    def _publish(
        self,
        cameras: dict[str, CameraReport],
        frame_set: FrameSet | None = None,
        poses: Sequence[HandPose] = (),
        timing: SetTiming | None = None,
        estimate: Estimate | None = None,
        ahead: Sequence[AheadPose] = (),
    ) -> None:
        self._sent_at = time.monotonic()
        if not self._begun and all(report.state != "starting" for report in cameras.values()):
            self._begun = True
            self._folder.begun("worker").touch()
        hops_ns = timing.hops_ns if timing else {}
        message = PoseSet(
            set_index=frame_set.index if frame_set else -1,
            reference_time_ns=frame_set.reference_time_ns if frame_set else 0,
            spread_ns=frame_set.spread_ns if frame_set else 0,
            hands=[msgspec.structs.replace(pose, hops_ns=hops_ns) for pose in poses],
            cameras=cameras,
            hops_ns=hops_ns,
            stage_ms=timing.stage_ms if timing else {},
            estimator=self._estimator.name,
            definition=self._estimator.definition,
            rig_id=self._rig.rig_id,
            simulated=self._settings.estimator == "simulated",
            views=list(frame_set.frames) if frame_set else [],
            looked=estimate.looked if estimate else False,
            unseen=[_unseen_pose(hand) for hand in estimate.unseen] if estimate else [],
            ahead=list(ahead),
        )
        self._publisher.send(message, give_up=self._gives_up)
        if self._newest is not None:
            self._newest.send(message)
        if self._settings.events or self._settings.streams:
            for event in self._events.of(message):
                self._event_publisher.send(event)

    def _gives_up(self) -> bool:
        """To wait for a viewer that draws every set is no standstill."""
        pulse.beat()
        return stop.is_set()

    def _write_summary(self) -> None:
        self._summary_at = time.monotonic()
        self._write(self._summary.result(self._intake.reports(None)))

    def _write(self, summary: dict) -> None:
        try:
            write_atomic(self._folder.summary, json.dumps(summary).encode())
        except OSError as error:
            log.warning("%s: the summary could not be written (%s)", self._folder.summary, error.strerror)

    def _finish(self, reason: str) -> None:
        if self._finisher is not None:
            self._finisher.shutdown()
        try:
            self._intake.stop()
            summary = self._summary.result(self._intake.reports(None))
            if self._motion is not None:
                offsets = self._motion.estimate(self._rig)
                summary["time_offsets_ms"] = {camera_id: ns / 1e6 for camera_id, ns in offsets.offset_ns.items()}
                summary["time_offsets_error_ms"] = {camera_id: ns / 1e6 for camera_id, ns in offsets.error_ns.items()}
            try:
                if self._poses is not None:
                    self._poses.close()
                    summary["poses"] = str(self._poses.path)
            finally:
                self._write(summary)
            end = End(reason, summary)
            self._publisher.send(end)
            self._event_publisher.send(end)
            if self._newest is not None:
                self._newest.send(end)
        finally:
            if self._arms is not None:
                self._arms.close()
            self._estimator.close()
            self._publisher.close()
            self._event_publisher.close()
            if self._newest is not None:
                self._newest.close()
            close_authenticator()
            if self._policy.shows_every_set and not stop.is_set():
                flush()


def _overlaps(settings: RunSettings) -> bool:
    """Whether a set is finished in one thread while the next one begins in another."""
    on = len(os.sched_getaffinity(0)) > _FEW_CORES if settings.overlap == "auto" else settings.overlap == "on"
    return on and settings.policy.may_overlap


def _hand_pose(
    hand: Hand,
    vertices_world_m: bytes | None,
    gestures: list[Gesture],
    fit: FittedPose | None,
    arm: ArmPose | None,
) -> HandPose:
    """Without the set's hops."""
    return HandPose(
        hand=hand.side,
        track_id=hand.track_id,
        capture_time_ns=hand.capture_time_ns,
        joints_world_m=hand.joints_world_m.tolist(),
        covariance_m2=hand.covariance_m2.tolist(),
        confidence=hand.confidence.tolist(),
        views=list(hand.detections_px),
        detections_px={camera_id: keypoints.tolist() for camera_id, keypoints in hand.detections_px.items()},
        vertices_world_m=vertices_world_m,
        right_probability=1 / (1 + math.exp(-hand.right_log_odds)),
        gestures=gestures,
        fit=fit,
        arm=arm,
    )


def _unseen_pose(hand: UnseenHand) -> UnseenPose:
    return UnseenPose(
        hand=hand.side,
        track_id=hand.track_id,
        state=hand.state,
        seen_time_ns=hand.seen_time_ns,
        joints_world_m=hand.joints_world_m.tolist(),
        covariance_m2=hand.covariance_m2.tolist(),
    )


def main() -> int:
    """Work for a run: started by the supervisor."""

    def work(folder: RunFolder, rig: Rig, settings: RunSettings) -> int:
        Worker(rig, settings, folder).run()
        # Ended from outside, it did not finish.
        return 1 if stop.is_set() else 0

    return run_process("worker", process_parser().parse_args(), work)


if __name__ == "__main__":
    sys.exit(main())
