"""The worker process: frame sets in, hands out.

Listens to: FrameHeader, CameraStatus (through the intake).
Emits: PoseSet for every frame set (and once a second while none comes), Pace (through the intake), End.

Where there are cores for it, a set is finished in a thread of its own while the next one begins.

Writes the run's `summary.json` every few seconds and at the end, and the poses of a replay at the end.
"""

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from app.assembly.intake import Intake
from app.estimators import make_estimator
from app.estimators.estimator import Estimate, Hand
from app.run.process import child_process, stop
from app.run.settings import RunFolder, RunSettings
from app.transport.keys import close_authenticator
from app.transport.messages import End, HandPose, PoseSet
from app.transport.sockets import Publisher, flush
from app.worker.hand_meshes import HandMeshes
from app.worker.pose_file import PoseFile
from app.worker.run_summary import RunSummary
from calibration.errors import UserError
from calibration.frames import FrameSet
from calibration.rig import Rig
from calibration.solve.hand_motion import TimeOffsetEstimator
from calibration.yamlfile import write_atomic

log = logging.getLogger(__name__)

_HEARTBEAT_S = 1.0
_SUMMARY_S = 5.0
_LOSSLESS_BACKLOG = 64
# Both engines use all cores by themselves; on two, another thread gains nothing.
_FEW_CORES = 2


class Worker:
    """Runs the estimator on the intake's sets until they end or the process is told to stop."""

    def __init__(self, rig: Rig, settings: RunSettings, folder: RunFolder) -> None:
        self._rig, self._settings, self._folder = rig, settings, folder
        self._poses = PoseFile(Path(settings.poses)) if settings.poses else None
        self._publisher = Publisher(_LOSSLESS_BACKLOG, lossless=settings.viewer_lossless)
        self._publisher.bind(folder.poses_address)
        if settings.publish:
            log.info("poses are published at %s", self._publisher.bind(settings.publish))
        self._intake = Intake(rig, settings, folder)
        self._estimator = make_estimator(settings.estimator, rig, settings.seed, settings.checkpoint, settings.engine)
        self._summary = RunSummary(self._estimator.truth_at)
        self._meshes = HandMeshes() if settings.mesh else None
        self._motion = TimeOffsetEstimator() if settings.estimate_offsets else None
        # More would wait anyway: sets are finished in order, and the newest is the one to begin with.
        self._finisher = ThreadPoolExecutor(1, "finish") if _overlaps(settings) else None
        self._finishing: Future[None] | None = None
        self._sets = 0
        self._summary_at = time.monotonic()
        self._sent_at = 0.0

    def run(self) -> None:
        reason = "stopped"
        self._intake.start()
        try:
            while not stop.is_set() and self._publisher.subscribers() < self._settings.wait_viewers:
                stop.wait(0.05)
            self._intake.release()
            log.info("worker: ready, estimator %s, cameras %s", self._estimator.name, ", ".join(self._rig.camera_ids))
            while not stop.is_set():
                frame_set = self._intake.take(0.1)
                if frame_set is not None:
                    self._process(frame_set)
                elif self._intake.ended:
                    reason = "the recording ended"
                    break
                elif time.monotonic() - self._sent_at > _HEARTBEAT_S:
                    self._wait()
                    self._publish(None, Estimate([]), {}, {}, {})
                if self._settings.sets is not None and self._sets >= self._settings.sets:
                    reason = "the number of sets asked for was reached"
                    break
                if time.monotonic() - self._summary_at > _SUMMARY_S:
                    self._wait()
                    self._write_summary()
            self._wait()
        finally:
            self._finish(reason)

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
        estimated_ns = time.monotonic_ns()
        vertices = self._meshes.fit(estimate.hands) if self._meshes is not None else {}
        end_ns = time.monotonic_ns()
        frames = frame_set.frames.values()
        hops_ns = {
            "grab": min((frame.grab_time_ns for frame in frames), default=start_ns),
            "last_grab": max((frame.grab_time_ns for frame in frames), default=start_ns),
            "publish": max((frame.publish_time_ns for frame in frames), default=start_ns),
            "set_closed": frame_set.closed_time_ns,
            "estimate_start": start_ns,
            "estimate_end": end_ns,
        }
        stage_ms = {
            "wait_for_slowest": (hops_ns["last_grab"] - hops_ns["grab"]) / 1e6,
            "grab": (hops_ns["publish"] - hops_ns["last_grab"]) / 1e6,
            "transport": (frame_set.closed_time_ns - hops_ns["publish"]) / 1e6,
            "queue": (start_ns - frame_set.closed_time_ns) / 1e6,
            **estimate.stage_ms,
        }
        if self._meshes is not None:
            stage_ms["mesh"] = (end_ns - estimated_ns) / 1e6
        self._publish(frame_set, estimate, vertices, hops_ns, stage_ms)
        self._intake.done(frame_set)
        self._summary.add(estimate, hops_ns, stage_ms)
        if self._poses is not None:
            for hand in estimate.hands:
                self._poses.add(hand)
        if self._motion is not None:
            times_ns = {camera_id: frame.capture_time_ns for camera_id, frame in frame_set.frames.items()}
            for hand in estimate.hands:
                self._motion.add(hand.track_id, hand.detections_px, times_ns)

    def _publish(
        self,
        frame_set: FrameSet | None,
        estimate: Estimate,
        vertices: dict[int, bytes],
        hops_ns: dict[str, int],
        stage_ms: dict[str, float],
    ) -> None:
        self._sent_at = time.monotonic()
        message = PoseSet(
            set_index=frame_set.index if frame_set else -1,
            reference_time_ns=frame_set.reference_time_ns if frame_set else 0,
            spread_ns=frame_set.spread_ns if frame_set else 0,
            hands=[_hand_pose(hand, hops_ns, vertices.get(hand.track_id)) for hand in estimate.hands],
            cameras=self._intake.reports(frame_set),
            hops_ns=hops_ns,
            stage_ms=stage_ms,
            estimator=self._estimator.name,
            rig_id=self._rig.rig_id,
            simulated=self._estimator.simulated,
        )
        if frame_set is not None:
            hops_ns["published"] = time.monotonic_ns()
            stage_ms["publish"] = (hops_ns["published"] - hops_ns["estimate_end"]) / 1e6
            stage_ms["own"] = (hops_ns["published"] - hops_ns["last_grab"]) / 1e6 - stage_ms.get("detect", 0.0)
        self._publisher.send(message, give_up=stop.is_set)

    def _write_summary(self) -> dict:
        self._summary_at = time.monotonic()
        result = self._summary.result(self._intake.reports(None))
        write_atomic(self._folder.summary, json.dumps(result).encode())
        return result

    def _finish(self, reason: str) -> None:
        if self._finisher is not None:
            self._finisher.shutdown()
        try:
            self._intake.stop()
            result = self._write_summary()
            if self._poses is not None:
                self._poses.close()
                result["poses"] = str(self._poses.path)
                write_atomic(self._folder.summary, json.dumps(result).encode())
            if self._motion is not None:
                offsets = self._motion.estimate(self._rig)
                result["time_offsets_ms"] = {camera_id: ns / 1e6 for camera_id, ns in offsets.offset_ns.items()}
                result["time_offsets_error_ms"] = {camera_id: ns / 1e6 for camera_id, ns in offsets.error_ns.items()}
            write_atomic(self._folder.summary, json.dumps(result).encode())
            self._publisher.send(End(reason, result))
        finally:
            self._estimator.close()
            self._publisher.close()
            close_authenticator()
            if self._settings.viewer_lossless and not stop.is_set():
                flush()


def _overlaps(settings: RunSettings) -> bool:
    if settings.overlap == "auto":
        return not settings.lossless and len(os.sched_getaffinity(0)) > _FEW_CORES
    return not settings.lossless and settings.overlap == "on"


def _hand_pose(hand: Hand, hops_ns: dict[str, int], vertices_world_m: bytes | None) -> HandPose:
    return HandPose(
        hand=hand.side,
        track_id=hand.track_id,
        capture_time_ns=hand.capture_time_ns,
        joints_world_m=hand.joints_world_m.tolist(),
        covariance_m2=hand.covariance_m2.tolist(),
        confidence=hand.confidence.tolist(),
        views=list(hand.detections_px),
        hops_ns=hops_ns,
        detections_px={camera_id: keypoints.tolist() for camera_id, keypoints in hand.detections_px.items()},
        vertices_world_m=vertices_world_m,
    )


def main() -> int:
    """Work for a run: started by the supervisor."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("parent", type=int)
    args = parser.parse_args()
    with child_process("worker", args.parent, args.folder):
        folder = RunFolder(args.folder)
        try:
            rig, settings = folder.read()
            Worker(rig, settings, folder).run()
        except UserError as error:
            log.error("%s", error)
            return 2
        # Ended from outside, it did not finish.
        return 1 if stop.is_set() else 0


if __name__ == "__main__":
    sys.exit(main())
