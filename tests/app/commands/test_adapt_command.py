"""`usthand adapt` from the outside: what it refuses, before it begins."""

from pathlib import Path

import numpy as np
import pytest

from app import cli
from app.adaptation.adapt import Adaptation
from app.adaptation.footage import plan_footage
from app.adaptation.settings import AdaptSettings, FootageSettings
from app.adaptation.work import WorkFolder
from app.evaluation.evaluation import Recording
from app.labelling.stretch import Stretch, empty_hands
from calibration.errors import UserError
from models.files.labels import Labels, write_labels
from models.weights import checkpoint_path
from tests.support.exact_footage import FPS, make_session


@pytest.fixture
def recording(tmp_path: Path, write_video) -> Recording:
    return make_session(tmp_path / "session", write_video)


def test_bad_input_is_one_line_and_exit_code_2(recording, tmp_path, write_video, capsys):
    two = make_session(tmp_path / "two", write_video, cameras=2)
    path, out = str(recording.session.path), ["-o", str(tmp_path / "mine")]
    for words, message in (
        ([path, *out], "too short to hold 25% of it out and learn from the rest. Record at least 5 s at this rate"),
        ([path, path, *out], "named twice"),
        ([str(two.session.path), *out], "has 2 cameras"),
        ([str(tmp_path / "nothing"), *out], "no such directory"),
        ([path, "-o", path], "is there already"),
        ([path, "-o", str(tmp_path / "no" / "mine")], "there is no folder"),
        ([path, *out, "--holdout", "0.9"], "give a share from 0.05 to 0.6"),
    ):
        assert cli.main(["adapt", *words]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "mine").exists() and not list(tmp_path.glob(".adapting*"))


def test_labels_of_another_calibration_are_found_out(recording, tmp_path, capsys):
    session = recording.session
    none = Labels(
        camera=np.zeros(0, np.int16), time_ns=np.zeros(0, np.int64), right=np.zeros(0, bool),
        keypoints_px=np.zeros((0, 21, 2), np.float32), confidence=np.zeros((0, 21), np.float32),
        source="MediaPipe", definition="detector", rig_id="another",
    )  # fmt: skip
    write_labels(session.path / "labels.npz", none, 3)
    assert cli.main(["adapt", str(session.path), "-o", str(tmp_path / "mine")]) == 2
    assert "made with another calibration" in capsys.readouterr().err


@pytest.mark.parametrize(("source", "message"), [
    (None, "has no labels.npz to learn from"), ("mediapipe", "whose hands are learned from anyway"),
])  # fmt: skip
def test_own_labels_that_cannot_teach(recording, tmp_path, capsys, source, message):
    path = recording.session.path / "labels.npz"
    path.unlink(missing_ok=True)
    if source:
        none = Labels(
            camera=np.zeros(0, np.int16), time_ns=np.zeros(0, np.int64), right=np.zeros(0, bool),
            keypoints_px=np.zeros((0, 21, 2), np.float32), confidence=np.zeros((0, 21), np.float32), source=source,
        )  # fmt: skip
        write_labels(path, none, 3)
    assert cli.main(["adapt", str(recording.session.path), "-o", str(tmp_path / "mine"), "--own-labels"]) == 2
    assert message in capsys.readouterr().err


def test_a_missing_library_is_named_with_what_installs_it(recording, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("app.commands.adapt.importlib.util.find_spec", lambda name: None if name == "torch" else name)
    assert cli.main(["adapt", str(recording.session.path), "-o", str(tmp_path / "mine")]) == 2
    assert "pip install 'usthand-live[train,export]'" in capsys.readouterr().err


@pytest.mark.parametrize(("blind", "message"), [
    ((), "no hand is seen in any view"),
    (("cam_0", "cam_1"), "by camera `cam_2` alone"),
])  # fmt: skip
def test_a_session_that_shows_no_hands_leaves_nothing_behind(recording, tmp_path, blind, message):
    settings = AdaptSettings(footage=FootageSettings(holdout=0.4, rate_hz=FPS, least_sets=6, least_held_sets=4))
    footage = plan_footage(recording.session, 100, settings.footage)
    work = WorkFolder(tmp_path / "mine", {})
    adaptation = Adaptation(
        footages=[footage], weights=checkpoint_path("shipped"), engine="", work=work, settings=settings,
        labels=[None], cache=tmp_path, workers=1, progress=lambda title, done, total: None,
    )  # fmt: skip
    hands = _hands(len(footage.session.camera_ids), seen=[name not in blind for name in footage.session.camera_ids]
                   if blind else None)  # fmt: skip
    adaptation._find = lambda name, number, checkpoint: hands  # type: ignore[method-assign]
    with pytest.raises(UserError, match=message):
        adaptation.run()
    assert not work.path.exists() and not (tmp_path / "mine").exists()


def _hands(views: int, seen: list[bool] | None):
    rows = empty_hands(0 if seen is None else 1, views)
    if seen is not None:
        rows["seen"][0] = seen
    none = np.zeros(1, int)
    return Stretch(
        **rows, sets=none, sets_with_hand=none, unmatched=none, images=np.zeros(views, int),
        found=np.zeros(views, int), detector_s=np.zeros(1), definition=np.array(["detector"]),
    )  # fmt: skip
