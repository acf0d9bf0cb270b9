"""The evaluation of whole sessions, with a detector and methods whose errors are known exactly."""

from pathlib import Path

import numpy as np
import pytest

from app.assembly.recorded_sets import recorded_sets
from app.estimators.detection import Detector, Region
from app.estimators.estimator import Estimate, Hand
from app.evaluation.evaluation import Recording, evaluate_footage
from app.evaluation.shared_detector import SharedDetector
from calibration.errors import UserError
from calibration.frames import FrameSet
from calibration.hand import JOINTS, Definition, hand_size_px
from calibration.rig import Rig
from models.hand.definition import convert
from models.simulation.hands import hands_at
from tests.support.exact_footage import FPS, FRAMES, STAGGER_NS, ExactDetector, make_session
from tests.support.live_run import last_json, usthand


class KnownMethod:
    """Gives the true hands but for `shift_m`, and misses each `misses`-th set; notes which cameras it was shown."""

    name = "known"
    definition: Definition = "detector"

    def __init__(self, rig: Rig, shift_m: np.ndarray, misses: int | None) -> None:
        self.rig, self.shift_m, self.misses = rig, shift_m, misses
        self.shown: set[str] = set()
        self.sets = 0

    def estimate(self, frame_set: FrameSet) -> Estimate:
        self.shown |= frame_set.frames.keys()
        self.sets += 1
        if self.misses and self.sets % self.misses == 0:
            return Estimate(hands=[])
        time_ns = frame_set.reference_time_ns
        return Estimate(hands=[self._hand(side, joints, time_ns) for side, joints in hands_at(time_ns * 1e-9).items()])

    def _hand(self, side, joints_m: np.ndarray, time_ns: int) -> Hand:
        return Hand(
            side=side,
            track_id=int(side == "right"),
            capture_time_ns=time_ns,
            joints_world_m=joints_m + self.shift_m,
            covariance_m2=np.zeros((JOINTS, 3, 3)),
            confidence=np.ones(JOINTS),
            detections_px={},
            inliers={},
            leave_one_out_px=np.array([1.0, 2.0, 6.0]),
        )

    def begin(self, frame_set: FrameSet):
        estimate = self.estimate(frame_set)
        return lambda: estimate

    def close(self) -> None: ...


def method(shift_m=(0.0, 0.0, 0.0), misses: int | None = None, made: list[KnownMethod] | None = None):
    def make(rig: Rig, detector: Detector) -> KnownMethod:
        each = KnownMethod(rig, np.asarray(shift_m), misses)
        if made is not None:
            made.append(each)
        return each

    return make


@pytest.fixture
def recording(tmp_path: Path, write_video) -> Recording:
    return make_session(tmp_path / "session", write_video)


def evaluate(recordings: list[Recording], detector: Detector, methods, **options) -> dict:
    return evaluate_footage(recordings, detector, {"mediapipe": method(), **methods}, **options)


def test_known_errors_are_measured_as_they_are(recording):
    detector = ExactDetector(recording.rig, shift_px=(3.0, -4.0))
    real = evaluate([recording], detector, {"ust-hand": method(misses=4)})["real"]
    exact, missing = real["mediapipe"], real["ust-hand"]
    # What is off by more are the ends of the tracks, where a hand is not known between sets.
    assert exact["withheld_px_median"] == pytest.approx(5.0, abs=0.01)
    assert exact["withheld_px_median_by_joint"] == pytest.approx([5.0] * JOINTS, abs=0.02)
    size_px = hand_size_px(np.concatenate([
        camera.project(joints_m)[None] for camera in recording.rig.cameras for at in np.arange(FRAMES) / FPS
        for joints_m in hands_at(at).values()
    ]))  # fmt: skip
    assert exact["withheld_percent_median"] == pytest.approx(100 * np.median(5.0 / size_px), rel=0.02)
    assert exact["withheld_hands"] == missing["withheld_hands"] == 2 * 3 * FRAMES
    assert exact["withheld_missed"] == 0
    assert missing["withheld_missed"] == 0.25
    assert exact["sets"] == exact["sets_with_both_hands"] == FRAMES
    assert missing["sets_with_hand"] == 15
    assert missing["hands_per_set_mean"] == 1.5
    assert exact["leave_one_out_px_median"] == 2.0
    assert exact["bone_length_cv_mean"] == pytest.approx(0, abs=1e-9)


def test_a_method_that_errs_in_space_errs_in_the_withheld_view(recording):
    shift_m = np.array([0.0, 0.0, 0.01])
    real = evaluate([recording], ExactDetector(recording.rig), {"ust-hand": method(shift_m)})["real"]
    off_px = [
        np.linalg.norm(camera.project(joints_m + shift_m) - camera.project(joints_m), axis=1)
        for camera in recording.rig.cameras
        for at in np.arange(FRAMES) / FPS
        for joints_m in hands_at(at).values()
    ]
    assert real["ust-hand"]["withheld_px_median"] == pytest.approx(np.median(off_px), rel=0.02)
    assert real["mediapipe"]["withheld_px_median"] < 0.02


def test_joints_of_another_definition_are_compared_where_the_detector_puts_them(recording):
    class Anatomical(KnownMethod):
        definition: Definition = "anatomical"

    methods = {"ust-hand": lambda rig, detector: Anatomical(rig, np.zeros(3), None)}
    detector = ExactDetector(recording.rig, place=lambda joints_m: convert(joints_m, "anatomical", "detector"))
    real = evaluate([recording], detector, methods)["real"]
    assert real["ust-hand"]["withheld_px_median"] < 0.02
    assert real["mediapipe"]["withheld_px_median"] > 0.5
    assert (real["mediapipe"]["definition"], real["ust-hand"]["definition"]) == ("detector", "anatomical")


def test_a_method_without_a_camera_never_sees_it(recording):
    made: list[KnownMethod] = []
    evaluate([recording], ExactDetector(recording.rig), {"ust-hand": method(made=made)})
    everyone = set(recording.rig.camera_ids)
    assert [each.shown for each in made] == [everyone, *(everyone - {name} for name in recording.rig.camera_ids)]
    assert all(each.shown == set(each.rig.camera_ids) for each in made)
    assert {each.sets for each in made} == {FRAMES}


def test_the_detector_searches_each_frame_once(recording):
    from app.estimators import make_estimator

    detector = ExactDetector(recording.rig)
    triangulated = {"mediapipe": lambda rig, shared: make_estimator("mediapipe", rig, detector=shared)}
    real = evaluate_footage([recording], detector, triangulated)["real"]
    assert set(detector.searched.values()) == {1}
    assert len(detector.searched) == 3 * FRAMES
    assert real["mediapipe"]["withheld_missed"] == 0
    assert real["mediapipe"]["withheld_px_median"] < 1


def test_what_was_looked_for_in_a_place_is_not_looked_for_again(recording):
    """An image in which the detector by itself sees nothing: each place in it is asked for once a set."""
    frame_set = next(recorded_sets(recording.session, recording.rig, recording.phases_ns))
    detector = ExactDetector(recording.rig, blind=["cam_0"])
    shared = SharedDetector(detector)
    shared.look(frame_set)
    frame = frame_set.frames["cam_0"]
    place = recording.rig["cam_0"].project(hands_at(0.0)["left"])
    for shift_px in (0.0, 1.0, -2.0):
        assert shared.detect([frame], [[Region(place + shift_px)]], [False]) == [[]]
    assert detector.regions == 1
    (seen,) = shared.detect(
        [frame_set.frames["cam_1"]], [[Region(recording.rig["cam_1"].project(hands_at(0.005)["left"]))]], [False]
    )
    assert len(seen) == 1
    assert detector.regions == 1


def test_of_a_session_that_is_held_out_only_the_end_counts(recording):
    made: list[KnownMethod] = []
    real = evaluate([recording], ExactDetector(recording.rig), {"ust-hand": method(made=made)}, holdout=0.25)["real"]
    assert real["ust-hand"]["sets"] == 5
    assert {each.sets for each in made} == {FRAMES}


def test_sessions_are_pooled(recording, tmp_path, write_video):
    other = make_session(tmp_path / "other", write_video, 4)
    detector = ExactDetector(other.rig)
    alone = [evaluate([each], detector, {})["real"]["mediapipe"] for each in (recording, other)]
    both = evaluate([recording, other], detector, {})["real"]["mediapipe"]
    for key in ("sets", "withheld_hands", "sets_with_hand"):
        assert both[key] == alone[0][key] + alone[1][key]


def test_two_cameras_have_no_withheld_view_but_the_rest(tmp_path, write_video):
    pair = make_session(tmp_path / "pair", write_video, 2)
    real = evaluate([pair], ExactDetector(pair.rig), {})["real"]["mediapipe"]
    assert real["withheld_hands"] == 0
    assert real["withheld_px_median"] is None
    assert real["withheld_px_median_by_joint"] == [None] * JOINTS
    assert real["sets_with_hand"] == FRAMES


def test_footage_that_shows_nothing_to_measure_is_refused(recording):
    ids = recording.rig.camera_ids
    with pytest.raises(UserError, match="no hand is seen in any view"):
        evaluate([recording], ExactDetector(recording.rig, blind=ids), {})
    with pytest.raises(UserError, match="camera `cam_2` alone"):
        evaluate([recording], ExactDetector(recording.rig, blind=ids[:2]), {})


def test_of_several_sessions_one_without_hands_is_named_and_left_out(recording, tmp_path, write_video, caplog):
    class Blind(ExactDetector):
        def detect(self, frames, regions, searched):
            return (
                [[] for _ in frames] if len(self.searched) >= 4 * FRAMES else super().detect(frames, regions, searched)
            )

    other = make_session(tmp_path / "other", write_video, 4)
    both = evaluate([other, recording], Blind(other.rig), {})
    alone = evaluate([other], ExactDetector(other.rig), {})
    assert both.pop("left_out") == "session"
    assert both == alone
    assert "session: no hand is seen in any view" in caplog.text
    with pytest.raises(UserError, match="no hand is seen in any view"):
        evaluate([recording, other], ExactDetector(other.rig, blind=other.rig.camera_ids), {})


def test_sets_are_those_of_a_replay_and_each_frame_is_in_one(recording):
    sets = list(recorded_sets(recording.session, recording.rig, recording.phases_ns))
    assert len(sets) == FRAMES
    for number, frame_set in enumerate(sets):
        assert {name: frame.sequence for name, frame in frame_set.frames.items()} == dict.fromkeys(
            recording.rig.camera_ids, number
        )
        assert frame_set.spread_ns == 2 * STAGGER_NS


def test_the_command_reports_methods_and_says_what_is_wrong(recording, tmp_path, write_video):
    """The videos show no hand, which is what the command finds first."""
    path = recording.session.path
    done = usthand("evaluate", "--data", path, "--methods", "mediapipe")
    assert done.returncode == 2, done.stderr
    assert "no hand is seen in any view" in done.stderr
    for words, message in (
        (["--holdout", "1.5"], "--holdout 1.5"),
        (["--board", tmp_path / "no.yaml"], "no.yaml"),
        (["--views", "3", "--holdout", "0.5"], "Give one of them"),
        (["--seed", "9"], "`--seed` is of data with truth and `--methods` of recorded footage"),
        (["--data", path, f"{path}/"], "named twice"),
        (["--report", tmp_path], "is a folder"),
    ):
        done = usthand("evaluate", "--data", path, "--methods", "mediapipe", *words)
        assert done.returncode == 2, done.stderr
        assert message in done.stderr
        assert "Traceback" not in done.stderr
    done = usthand("evaluate", "--data", path, "--windows", "3")
    assert done.returncode == 2 and "`--windows` is of data with truth, and what is evaluated here" in done.stderr
    done = usthand("evaluate", "--data", tmp_path, "--holdout", "0.5")
    assert done.returncode == 2
    assert "is no recorded session" in done.stderr


@pytest.mark.slow
def test_mediapipe_and_the_packaged_network_on_a_real_rig(real_rig_dir, tmp_path):
    """The figures of docs/evaluation.md, with room for another version of a library."""
    session = tmp_path / "session"
    assert usthand("import", real_rig_dir, session).returncode == 0
    board = tmp_path / "board.yaml"
    board.write_text(
        "type: charuco\ncolumns: 4\nrows: 5\nsquare_m: 0.054\nmarker_m: 0.0405\n"
        "dictionary: DICT_4X4_1000\ninverted: true\n"
    )
    done = usthand(
        "evaluate", "--data", session, "--board", board, "--report", tmp_path / "r.html", "--json", timeout=900
    )
    assert done.returncode == 0, done.stderr
    figures = last_json(done.stdout)
    mediapipe = figures["real"]["mediapipe"]
    assert 98 <= mediapipe["sets_with_hand"] <= 106
    assert 5.5 < mediapipe["withheld_px_median"] < 7.5
    assert 0.03 < mediapipe["withheld_missed"] < 0.1
    network = figures["real"]["ust-hand"]
    assert network["withheld_hands"] == mediapipe["withheld_hands"]
    assert network["sets_with_hand"] >= 100
    assert network["hands_per_set_mean"] >= 1.75
    assert network["withheld_px_median"] <= 1.04 * mediapipe["withheld_px_median"]
    assert network["withheld_missed"] <= mediapipe["withheld_missed"] + 0.01
    assert network["leave_one_out_px_median"] <= 6.6
    assert network["bone_length_cv_mean"] <= 0.06
    grip = figures["grip"]["mediapipe"]
    assert 3 < grip["normal_sd_mm"] < 6
    assert 6 < grip["gap_mm"] < 16
    assert grip["wrong_side"] < 0.25
    grip = figures["grip"]["ust-hand"]
    assert grip["tips"] == figures["grip"]["mediapipe"]["tips"]
    assert grip["tips_missed"] <= 0.05
    assert grip["normal_sd_mm"] <= 4.8
    assert grip["wrong_side"] < 0.25
    assert "Withheld view, by joint" in (tmp_path / "r.html").read_text()
