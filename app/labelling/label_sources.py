"""Who says where hands are in a session's images: a detector, the network, or files that another program wrote."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from app.estimators import make_detector, make_estimator
from app.estimators.detection import Detector
from app.estimators.detectors.mediapipe_hands import MediaPipeHands
from app.estimators.detectors.remembered import RememberedDetector
from app.estimators.detectors.user_settings import read_user_settings
from app.estimators.estimator import Estimator
from app.estimators.multiview.estimator import MultiViewEstimator
from app.labelling.openpose import OpenPoseFolder
from calibration.found_files import read_found
from calibration.hand import Definition
from calibration.rig import Rig
from calibration.session import Session
from models.weights import checkpoint_path


@dataclass(frozen=True, kw_only=True)
class LabelSource:
    """`make` builds an estimator for a rig, which takes detections from `detector`. `name` is what labels call it,
    `definition` where on the hand its points lie (None: where the estimator says), `made_by` tells its settings."""

    name: str
    detector: RememberedDetector
    make: Callable[[Rig], Estimator]
    definition: Definition | None
    made_by: str


class LabelSources:
    """The source for each session: `detector` is mediapipe, ust-hand or a network's file; `openpose` has files by
    session instead. Raises UserError where the detector cannot be one."""

    def __init__(
        self,
        detector: str,
        *,
        hands: int = 2,
        checkpoint: str | None = None,
        openpose: Mapping[Path, OpenPoseFolder] | None = None,
        definition: Definition | None = None,
    ) -> None:
        self._name, self._hands, self._checkpoint = detector, hands, checkpoint
        self._openpose = openpose
        self._definition: Definition | None = definition
        self._user_file = None
        if openpose is None and detector not in ("mediapipe", "ust-hand"):
            self._user_file = Path(detector)
            read_user_settings(self._user_file)
        self._opened: Detector | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._opened is not None:
            self._opened.close()

    def source_of(self, session: Session) -> LabelSource:
        """Opens the detector when it is first asked for."""
        if self._openpose is not None:
            folder = self._openpose[session.path]
            return self._of_detector(folder, self._definition or "anatomical", folder.made_of())
        if self._opened is None:
            given = make_detector(None if self._user_file is None else str(self._user_file))
            self._opened = given or MediaPipeHands()
        if self._name == "ust-hand":
            return self._of_network(self._opened)
        return self._of_detector(self._opened, self._definition or "detector", self._told())

    def _of_detector(self, detector: Detector, definition: Definition, told: str) -> LabelSource:
        remembered = RememberedDetector(detector)
        return LabelSource(
            name=detector.name,
            detector=remembered,
            make=lambda rig: MultiViewEstimator(rig, remembered, self._hands, definition=definition),
            definition=definition,
            made_by=f"{detector.name} {told} {self._hands} {definition}",
        )

    def _of_network(self, detector: Detector) -> LabelSource:
        remembered, checkpoint = RememberedDetector(detector), self._checkpoint or "shipped"
        return LabelSource(
            name="ust-hand",
            detector=remembered,
            make=lambda rig: make_estimator(
                "ust-hand", rig, checkpoint=checkpoint, detector=remembered, hands=self._hands
            ),
            definition=self._definition,
            made_by=f"ust-hand {_hash(checkpoint_path(checkpoint))} {self._hands} {self._definition}",
        )

    def _told(self) -> str:
        if self._user_file is None:
            return ""
        return _hash(self._user_file) + _hash(self._user_file.with_suffix(".yaml"))


def _hash(path: Path) -> str:
    """Of a file, or of the manifest of a directory of exported networks."""
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    return hashlib.sha256(b"".join(read_found(file) for file in files)).hexdigest()[:16]
