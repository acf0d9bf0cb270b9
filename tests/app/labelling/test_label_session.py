"""Whole sessions labelled: every hand in every view, resumed, and nothing lost where it fails."""

import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.estimators.detectors.remembered import RememberedDetector
from app.estimators.multiview.estimator import MultiViewEstimator
from app.evaluation.evaluation import Recording
from app.labelling.find_hands import StretchSettings
from app.labelling.label_session import label_session
from app.labelling.label_sources import LabelSource
from calibration import written_files
from calibration.errors import UserError
from calibration.rig import write_rig
from calibration.session import check_session
from models.data.session_cache import cache_session
from models.files.labels import Labels, read_labels, write_labels
from models.simulation.hands import hands_at
from models.simulation.simulated_rig import ring_rig
from tests.support.exact_footage import FRAMES, ExactDetector, make_session

VIEWS = 3


@pytest.fixture
def recording(tmp_path: Path, write_video) -> Recording:
    return make_session(tmp_path / "session", write_video)


def source_of(detector: ExactDetector, made_by: str = "exact") -> LabelSource:
    remembered = RememberedDetector(detector)
    return LabelSource(
        name="exact", detector=remembered, made_by=made_by, definition=None,
        make=lambda rig: MultiViewEstimator(rig, remembered, definition="anatomical"),
    )  # fmt: skip


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def same(path: Path, other: Path) -> bool:
    one, two = arrays(path), arrays(other)
    return one.keys() == two.keys() and all(np.array_equal(one[name], two[name]) for name in one)


def test_every_hand_of_every_view_is_labelled_where_it_truly_is(recording):
    session = recording.session
    summary = label_session(session, source_of(ExactDetector(recording.rig)))
    labels = read_labels(session.path / "labels.npz", VIEWS)
    assert len(labels) == summary["labels"] == 2 * VIEWS * FRAMES
    assert (labels.source, labels.definition, labels.rig_id) == ("exact", "anatomical", session.rig.rig_id)
    for row in range(len(labels)):
        side = "right" if labels.right[row] else "left"
        truth_px = session.rig.cameras[labels.camera[row]].project(hands_at(labels.time_ns[row] * 1e-9)[side])
        assert labels.keypoints_px[row] == pytest.approx(truth_px, abs=1e-3)
    for view, name in enumerate(session.camera_ids):
        assert set(labels.time_ns[labels.camera == view]) == set(session.frame_times_ns(name))
    assert summary["sets"] == summary["sets_with_hand"] == FRAMES
    assert np.median(labels.confidence) > 0.7
    assert not list(session.path.glob(".labelling-*"))


def test_labels_are_what_training_reads(recording, tmp_path):
    label_session(recording.session, source_of(ExactDetector(recording.rig)))
    crops = cache_session(recording.session.path, tmp_path / "cache", size_px=64)
    assert crops == 2 * VIEWS * FRAMES


def test_an_interrupted_run_goes_on_and_gives_the_same(recording, tmp_path, write_video):
    whole = make_session(tmp_path / "other" / "session", write_video)
    settings = StretchSettings(sets=6)
    label_session(whole.session, source_of(ExactDetector(whole.rig)), stretches=settings)

    done = []

    def interrupt(sets: int) -> None:
        done.append(sets)
        if sum(done) == 15:
            raise KeyboardInterrupt

    session = recording.session
    with pytest.raises(KeyboardInterrupt):
        label_session(session, source_of(ExactDetector(recording.rig)), interrupt, settings)
    assert not (session.path / "labels.npz").exists()
    detector, again = ExactDetector(recording.rig), []
    label_session(session, source_of(detector), again.append, settings)
    # Two stretches of six sets were whole.
    assert min(number for _, number in detector.searched) == 12
    assert sum(again) == FRAMES
    one, two = arrays(session.path / "labels.npz"), arrays(whole.session.path / "labels.npz")
    assert all(np.array_equal(one[name], two[name]) for name in one if name != "made_of")


def test_a_damaged_part_is_made_again(recording):
    session, settings = recording.session, StretchSettings(sets=10)

    def interrupt(sets: int, done=[0]) -> None:  # noqa: B006 - counts
        done[0] += sets
        if done[0] == 15:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        label_session(session, source_of(ExactDetector(recording.rig)), interrupt, settings)
    (part,) = session.path.glob(".labelling-*/00000.npz")
    part.write_bytes(part.read_bytes()[:100])
    assert label_session(session, source_of(ExactDetector(recording.rig)), stretches=settings)["sets"] == FRAMES


def test_labels_of_the_same_are_left_and_others_are_kept(recording):
    session, path = recording.session, recording.session.path / "labels.npz"
    mine = Labels(
        camera=np.zeros(1, np.int16), time_ns=np.zeros(1, np.int64), right=np.ones(1, bool),
        keypoints_px=np.ones((1, 21, 2), np.float32), confidence=np.ones((1, 21), np.float32), source="by hand",
    )  # fmt: skip
    write_labels(path, mine, VIEWS)
    before = path.read_bytes()
    first = label_session(session, source_of(ExactDetector(recording.rig)))
    (backup,) = session.path.glob("labels.npz.bak-*")
    assert backup.read_bytes() == before
    detector = ExactDetector(recording.rig)
    assert label_session(session, source_of(detector)) == first
    assert not detector.searched
    label_session(session, source_of(detector, "other settings"))
    assert detector.searched
    assert len(list(session.path.glob("labels.npz.bak-*"))) == 2


@pytest.mark.parametrize("failing", [1, 2, 3, 4])
def test_a_full_disk_loses_nothing(recording, monkeypatch, failing):
    """The write that fails is that of a part, of the second part, of the summary, or of the labels."""
    session, path = recording.session, recording.session.path / "labels.npz"
    label_session(session, source_of(ExactDetector(recording.rig)))
    before, writes = path.read_bytes(), []

    def full(file: int) -> None:
        writes.append(file)
        if len(writes) == failing:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(written_files.os, "fsync", full)
    settings = StretchSettings(sets=10)
    with pytest.raises(OSError, match="No space left"):
        label_session(session, source_of(ExactDetector(recording.rig), "new"), stretches=settings)
    assert path.read_bytes() == before
    assert not list(session.path.rglob("*.tmp"))
    monkeypatch.undo()
    detector = ExactDetector(recording.rig)
    label_session(session, source_of(detector, "new"), stretches=settings)
    assert min((number for _, number in detector.searched), default=FRAMES) == [0, 10, FRAMES, FRAMES][failing - 1]


def test_footage_without_hands_or_with_one_view_is_refused(recording):
    session, ids = recording.session, recording.rig.camera_ids
    with pytest.raises(UserError, match="no hand is seen in any view"):
        label_session(session, source_of(ExactDetector(recording.rig, blind=ids), "none"))
    with pytest.raises(UserError, match="by camera `cam_2` alone"):
        label_session(session, source_of(ExactDetector(recording.rig, blind=ids[:2]), "one"))
    assert not (session.path / "labels.npz").exists()
    assert not list(session.path.glob(".labelling-*"))


def test_a_stretch_without_hands_is_not_the_end(recording):
    class LateDetector(ExactDetector):
        def detect(self, frames, regions, searched):
            found = super().detect(frames, regions, searched)
            return [hands if frame.sequence >= 10 else [] for frame, hands in zip(frames, found, strict=True)]

    summary = label_session(
        recording.session, source_of(LateDetector(recording.rig)), stretches=StretchSettings(sets=4)
    )
    assert summary["sets"] == FRAMES
    assert summary["sets_with_hand"] == FRAMES - 10


def test_hands_that_no_two_views_agree_on_are_those_of_another_rig(recording):
    """The session's rig.yaml is that of cameras that stood elsewhere."""
    session = recording.session
    elsewhere = ring_rig(5, 320, 240)
    moved = replace(
        session.rig,
        cameras=tuple(
            replace(camera, T_cam_world=other.T_cam_world @ np.diag([1, -1, -1, 1.0]))
            for camera, other in zip(session.rig.cameras, elsewhere.cameras[::2], strict=True)
        ),
    )
    write_rig(session.path / "rig.yaml", moved)
    with pytest.raises(UserError, match=r"no two views agree on a hand\. Is rig.yaml the calibration"):
        label_session(check_session(session.path), source_of(ExactDetector(recording.rig)))


def test_labels_of_another_calibration_are_not_trained_on(recording, tmp_path):
    session = recording.session
    label_session(session, source_of(ExactDetector(recording.rig)))
    write_rig(session.path / "rig.yaml", session.rig.with_time_offsets(dict.fromkeys(session.camera_ids, 1_000_000)))
    with pytest.raises(UserError, match=r"labels were made with the calibration .* Label the session again"):
        cache_session(session.path, tmp_path / "cache")
