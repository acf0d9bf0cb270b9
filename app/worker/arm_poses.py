"""`--body`: the arm of each hand of a set, and the angles of the wrist between the two.

The pose networks run in a thread of their own. A replay waits for them, so that the same recording always gives the
same arms; live the hands are published meanwhile, and the arms are those of the last look, carried on by their motion.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from app.estimators.body.arms import Arm, Arms
from app.estimators.body.body_views import BodiesSeen, BodyViews
from app.estimators.body.settings import BODY, BodySettings
from app.estimators.estimator import Hand
from app.transport.messages import ArmPose
from calibration.frames import FrameSet
from calibration.hand import Definition
from calibration.rig import Rig
from models.hand import definition as joint_definition
from models.hand.fitter import HandFitter
from models.hand.joint_angles import pose_covariance
from models.hand.wrist_angles import wrist_angles, wrist_angles_covariance

log = logging.getLogger(__name__)

_KEEP_S = 1.0


class ArmPoses:
    """Looks at the people of frame sets now and then; gives the arms of each set's hands."""

    def __init__(
        self,
        rig: Rig,
        *,
        hands: int,
        definition: Definition,
        engine: str,
        waits: bool,
        settings: BodySettings = BODY,
    ) -> None:
        """`waits` for the networks, as a replay does. Raises UserError where no engine works."""
        self._views, self._arms = BodyViews(engine, settings), Arms(rig, hands <= 2, settings)
        self._definition: Definition = definition
        self._waits, self._period_ns = waits, round(settings.period_s * 1e9)
        self._thread = ThreadPoolExecutor(1, "bodies")
        self._looking: tuple[Future[BodiesSeen], Sequence[Hand]] | None = None
        self._looked_ns: int | None = None
        self._fitters: dict[int, tuple[int, HandFitter]] = {}

    def of(self, frame_set: FrameSet, hands: Sequence[Hand]) -> dict[int, ArmPose]:
        """The arms of a set's hands, by track; a hand whose elbow is not known has none."""
        self._gather(False)
        now_ns = frame_set.reference_time_ns
        is_due = self._looked_ns is None or not 0 <= now_ns - self._looked_ns < self._period_ns
        if is_due and self._looking is None:
            self._looked_ns = now_ns
            self._looking = self._thread.submit(self._views.read, self._views.take(frame_set)), hands
            self._gather(self._waits)
        poses = {}
        for hand in hands:
            arm = self._arms.at(hand.track_id, hand.capture_time_ns)
            if arm is not None:
                poses[hand.track_id] = self._pose(hand, arm)
        oldest_ns = now_ns - round(_KEEP_S * 1e9)
        self._fitters = {track: each for track, each in self._fitters.items() if each[0] >= oldest_ns}
        return poses

    def close(self) -> None:
        self._thread.shutdown()
        self._views.close()

    def _gather(self, waits: bool) -> None:
        """What the networks found, if they are done."""
        if self._looking is None or not (waits or self._looking[0].done()):
            return
        found, hands = self._looking
        self._looking = None
        self._arms.see(found.result(), hands)

    def _pose(self, hand: Hand, arm: Arm) -> ArmPose:
        wrist = self._wrist(hand, arm)
        return ArmPose(
            side=arm.side,
            right_probability=arm.right_probability,
            seen_time_ns=arm.seen_time_ns,
            views=list(arm.views),
            elbow_world_m=arm.elbow_world_m.tolist(),
            elbow_covariance_m2=arm.elbow_covariance_m2.tolist(),
            shoulder_world_m=None if arm.shoulder_world_m is None else arm.shoulder_world_m.tolist(),
            shoulder_covariance_m2=None if arm.shoulder_covariance_m2 is None else arm.shoulder_covariance_m2.tolist(),
            wrist_rad=None if wrist is None else wrist[0].tolist(),
            wrist_std_rad=None if wrist is None else wrist[1].tolist(),
        )

    def _wrist(self, hand: Hand, arm: Arm) -> tuple[np.ndarray, np.ndarray] | None:
        """The wrist's angles (2,) and their deviations, of the built-in hand fitted to the anatomical joints."""
        _, fitter = self._fitters.get(hand.track_id, (0, HandFitter(hand.side)))
        if fitter.side != hand.side:
            fitter = HandFitter(hand.side)
        self._fitters[hand.track_id] = hand.capture_time_ns, fitter
        is_right = hand.side == "right"
        joints_m = joint_definition.convert(hand.joints_world_m, self._definition, "anatomical", is_right)
        try:
            fit = fitter.fit(joints_m, hand.covariance_m2)
            if fit is None:
                return None
            pose = pose_covariance(fit, joints_m, fitter.bones.lengths_m, hand.side, hand.covariance_m2)
        except (ArithmeticError, ValueError) as error:  # LinAlgError is a ValueError
            log.warning("no wrist angles for hand %d: %s", hand.track_id, error)
            self._fitters.pop(hand.track_id)
            return None
        if pose is None:
            return None
        angles = wrist_angles(fit.T_world_hand, arm.elbow_world_m, hand.side)
        covariance = wrist_angles_covariance(
            fit.T_world_hand, arm.elbow_world_m, hand.side, pose, arm.elbow_covariance_m2
        )
        return angles, np.sqrt(np.diag(covariance))
