"""A user's own network: of each kind one finds painted dots; what does not fit is said in one line."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml

from app.estimators import make_detector
from app.estimators.detection import Detection, Region
from app.estimators.detectors.keypoint_decoding import decode
from app.estimators.detectors.user_detector import UserDetector
from app.estimators.detectors.user_settings import InputSettings, OutputSettings, UserDetectorSettings
from app.estimators.multiview.estimator import MultiViewEstimator
from calibration.errors import UserError
from calibration.frames import Frame, FrameSet
from calibration.hand import JOINT_NAMES
from models.simulation.hands import hands_at
from models.simulation.simulated_rig import ring_rig
from tests.support.dot_networks import SIDE, painted, write_network
from tests.support.live_run import simulated_rig, usthand

KINDS = ("coordinates", "heatmaps", "simcc")
RIG = ring_rig(3, 1280, 960)


class Finder:
    """Finds the right hand of the demo, a tenth of its size off, and says that it is one."""

    name = "finder"

    def detect(
        self, frames: Sequence[Frame], regions: Sequence[Sequence[Region]], searched: Sequence[bool]
    ) -> list[list[Detection]]:
        found = []
        for frame, search in zip(frames, searched, strict=True):
            keypoints_px = truth_px(frame)
            off = keypoints_px + 0.1 * np.ptp(keypoints_px, axis=0).max()
            found.append([Detection(off, np.ones(21), 0.9, 0.9)] if search else [])
        return found

    def close(self) -> None: ...


def truth_px(frame: Frame) -> np.ndarray:
    return RIG[frame.camera_id].project(hands_at(frame.capture_time_ns * 1e-9)["right"])


def frame_of(camera_id: str, time_ns: int = 0) -> Frame:
    frame = Frame(
        camera_id=camera_id,
        sequence=0,
        capture_time_ns=time_ns,
        grab_time_ns=time_ns,
        publish_time_ns=time_ns,
        pixels=np.zeros((1, 1, 3), np.uint8),
    )
    return Frame(
        camera_id=camera_id,
        sequence=0,
        capture_time_ns=time_ns,
        grab_time_ns=time_ns,
        publish_time_ns=time_ns,
        pixels=painted(truth_px(frame), 1280, 960),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_network_finds_the_dots(kind: str, tmp_path: Path) -> None:
    """To half a pixel of the crop, which shows about two of the image in one; dots that hide others aside."""
    detector = UserDetector(write_network(tmp_path / "dots.onnx", kind), Finder())
    frames = [frame_of(camera_id) for camera_id in RIG.camera_ids]
    regions = [[Region(truth_px(frames[0]) + 10)], [], []]
    found = detector.detect(frames, regions, [False, True, False])
    assert [len(each) for each in found] == [1, 1, 0]
    for frame, (detection,) in zip(frames, found[:2], strict=False):
        errors = np.linalg.norm(detection.keypoints_px - truth_px(frame), axis=1)
        assert np.median(errors) < 1.5
    assert found[0][0].right_probability == 0.5  # a network that does not say it leaves it open
    assert found[1][0].right_probability == 0.9
    detector.close()


def test_the_estimator_follows_a_hand_with_it(tmp_path: Path) -> None:
    estimator = MultiViewEstimator(RIG, UserDetector(write_network(tmp_path / "dots.onnx", "heatmaps"), Finder()))
    for index in range(5):
        time_ns = index * 33_333_333
        frames = {camera_id: frame_of(camera_id, time_ns) for camera_id in RIG.camera_ids}
        (hand,) = estimator.estimate(FrameSet(index, time_ns, frames, 0)).hands
        errors_m = np.linalg.norm(hand.joints_world_m - hands_at(time_ns * 1e-9)["right"], axis=1)
        assert hand.side == "right"
        assert np.median(errors_m) < 0.004
    estimator.close()


def test_keypoints_in_another_order_are_put_right(tmp_path: Path) -> None:
    plain = UserDetector(write_network(tmp_path / "plain.onnx", "heatmaps"), Finder())
    names = list(JOINT_NAMES[::-1])
    turned = UserDetector(write_network(tmp_path / "turned.onnx", "heatmaps", keypoints=names), Finder())
    frames = [frame_of("cam_0")]
    one, other = (
        each.detect(frames, [[Region(truth_px(frames[0]))]], [False])[0][0].keypoints_px for each in (plain, turned)
    )
    np.testing.assert_allclose(one, other[::-1])


def test_overwritten_pixels_give_nothing(tmp_path: Path) -> None:
    detector = UserDetector(write_network(tmp_path / "dots.onnx", "heatmaps"), Finder())
    frame = frame_of("cam_0")
    frame = Frame(
        camera_id="cam_0",
        sequence=0,
        capture_time_ns=0,
        grab_time_ns=0,
        publish_time_ns=0,
        pixels=frame.pixels,
        intact=lambda: False,
    )
    assert detector.detect([frame], [[Region(truth_px(frame))]], [True]) == [[]]


def test_an_answer_that_is_no_number_loses_the_hand_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = UserDetector(write_network(tmp_path / "dots.onnx", "heatmaps"), Finder())
    plain = detector._network.read
    nothing = np.full((1, 21, 2), np.nan)
    monkeypatch.setattr(detector._network, "read", lambda crops: plain(crops)._replace(keypoints_px=nothing))
    frame = frame_of("cam_0")
    assert detector.detect([frame], [[Region(truth_px(frame))]], [False]) == [[]]


def test_a_peak_between_cells_is_found_between_them() -> None:
    """Of Gaussian peaks, whose parabola is a hundredth of a cell off, in maps a quarter as large as the crop."""
    settings = UserDetectorSettings(
        input=InputSettings(width=128, height=96), output=OutputSettings(kind="heatmaps", names=("h",))
    )
    places = np.random.default_rng(1).uniform(20, 70, (1, 21, 2))
    centres = (places + 0.5) / 4 - 0.5
    y, x = np.mgrid[:24, :32]
    heat = np.exp(-((x - centres[..., 0, None, None]) ** 2 + (y - centres[..., 1, None, None]) ** 2) / (2 * 4.0))
    found, confidence = decode([heat], settings)
    np.testing.assert_allclose(found, places, atol=0.1)
    assert (confidence > 0.8).all()


def test_coordinates_as_shares_are_scaled_by_each_side() -> None:
    settings = UserDetectorSettings(
        input=InputSettings(width=192, height=256), output=OutputSettings(kind="coordinates", unit="share")
    )
    found, _ = decode([np.full((2, 63), 0.5)], settings)
    np.testing.assert_allclose(found, np.broadcast_to([96.0, 128.0], (2, 21, 2)))


BAD = {
    "20 names": (
        {"keypoints": list(JOINT_NAMES[:20])},
        "`keypoints` has 20 names, expected the 21 joints once each; missing: little tip",
    ),
    "another size": (
        {"input": {"width": 64, "height": SIDE}},
        f"takes images of any x 3 x {SIDE} x {SIDE}, expected batch x 3 x {SIDE} x 64",
    ),
    "another kind": (
        {"output": {"kind": "coordinates"}},
        f"coordinates of shape batch x 21 x {SIDE} x {SIDE}, expected batch x 21 x 2",
    ),
    "two outputs too few": ({"output": {"kind": "simcc"}}, "1 outputs with keypoints, expected 2"),
    "no such output": ({"output": {"kind": "heatmaps", "names": ["maps"]}}, "no output is called `maps`; it has heat"),
    "an unknown key": ({"keypoint": []}, "unknown key `keypoint`"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_said(case: str, tmp_path: Path) -> None:
    settings, told = BAD[case]
    path = write_network(tmp_path / "dots.onnx", "heatmaps", **settings)
    with pytest.raises(UserError) as error:
        UserDetector(path, Finder())
    assert told in str(error.value)


def test_files_that_are_missing_or_no_network_are_said(tmp_path: Path) -> None:
    path = write_network(tmp_path / "dots.onnx", "heatmaps")
    with pytest.raises(UserError, match="no such file"):
        UserDetector(tmp_path / "other.onnx", Finder())
    path.write_bytes(b"no network")
    with pytest.raises(UserError, match=r"dots\.onnx"):
        UserDetector(path, Finder())
    path.with_suffix(".yaml").unlink()
    with pytest.raises(UserError, match=r"dots\.yaml: no such file"):
        UserDetector(path, Finder())


def test_the_engine_is_the_one_that_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("onnxruntime")
    caplog.set_level("INFO")
    detector = make_detector(str(write_network(tmp_path / "dots.onnx", "heatmaps")), "onnxruntime")
    assert detector is not None
    detector.close()
    said = [message for message in caplog.messages if "ONNX Runtime" in message]
    assert [message.split()[1] for message in said] == ["hand_landmark", "palm_detection", "dots"]
    with pytest.raises(UserError, match="unknown engine `torch` of the hand detector"):
        make_detector(str(tmp_path / "dots.onnx"), "torch")


def test_an_engine_that_detection_does_not_have_is_refused(tmp_path: Path) -> None:
    rig = simulated_rig(tmp_path / "rig.yaml")
    done = usthand("live", rig, "--no-viewer", "--engine", "torch")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "unknown engine `torch` of the hand detector; known: auto" in done.stderr


@pytest.mark.parametrize("case", ["20 names", "another size", "nan", "none"])
def test_the_command_ends_with_one_line(case: str, tmp_path: Path) -> None:
    path = tmp_path / "dots.onnx"
    if case != "none":
        write_network(path, "heatmaps", nan=case == "nan", **(BAD[case][0] if case in BAD else {}))
    rig = simulated_rig(tmp_path / "rig.yaml")
    done = usthand("live", rig, "--detector", path, "--no-viewer", "--no-mesh", "--seconds", "20")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    told = {"nan": "is no number (NaN)", "none": "no such file"}.get(case) or BAD[case][1]
    assert sum(told in line for line in done.stderr.splitlines()) == 1
    assert yaml.safe_load((tmp_path / "rig.yaml").read_text())  # it is left as it was
