"""What happened between one published set and the next."""

import msgspec

from app.transport.messages import CameraReport, Gesture, PoseSet, UnseenPose
from app.worker.events import Events
from calibration.hand import Side
from models.simulation.hands import hands_at
from tests.support.viewer_scene import make_pose, make_set


def pose_set(state: str, hands: int, detail: str = "") -> PoseSet:
    pose = make_pose("left", dict(hands_at(0.0))["left"])
    report = CameraReport(state=state, detail=detail)  # pyright: ignore[reportArgumentType]
    return make_set(0, hands=[pose] * hands, cameras={"cam_0": report})


def test_each_change_of_a_camera_and_of_the_hands_is_told_once():
    events = Events()
    told = [
        [(event.kind, event.subject, event.state) for event in events.of(message)]
        for message in (
            pose_set("starting", 0),
            pose_set("streaming", 1),
            pose_set("streaming", 1),
            pose_set("lost", 1, "unplugged"),
            pose_set("lost", 0),
        )
    ]
    assert told == [
        [("camera", "cam_0", "starting")],
        [("camera", "cam_0", "streaming"), ("hand", "1", "appeared")],
        [],
        [("camera", "cam_0", "lost")],
        [("hand", "1", "lost")],
    ]


def test_a_hand_whose_side_is_corrected_ends_on_the_one_what_it_began_there():
    def on(side: Side) -> PoseSet:
        message = pose_set("streaming", 1)
        message.hands[0].hand, message.hands[0].gestures = side, ["pinch"]
        return message

    events = Events()
    events.of(on("left"))
    told = [(event.kind, event.subject, event.state, event.detail, event.hand) for event in events.of(on("right"))]
    assert told == [
        ("gesture", "1", "ended", "pinch", "left"),
        ("hand", "1", "lost", "left", "left"),
        ("hand", "1", "appeared", "right", "right"),
        ("gesture", "1", "began", "pinch", "right"),
    ]
    assert not events.of(on("right"))


def test_a_gesture_begins_and_ends_once_and_a_lost_hand_ends_its_own():
    def doing(*gestures: Gesture) -> PoseSet:
        message = pose_set("streaming", 1)
        message.hands[0].gestures = list(gestures)
        return message

    unseen = pose_set("streaming", 0)
    held = {
        "hand": "left",
        "track_id": 1,
        "state": "held",
        "seen_time_ns": 0,
        "joints_world_m": [],
        "covariance_m2": [],
    }
    unseen.unseen = [msgspec.convert(held, UnseenPose)]
    events = Events()
    events.of(pose_set("streaming", 0))
    told = [
        [(event.kind, event.state, event.detail, event.hand) for event in events.of(message)]
        for message in (
            doing(),
            doing("pinch"),
            doing("grab", "pinch"),
            unseen,
            doing("grab"),
            pose_set("streaming", 0),
        )
    ]
    assert told == [
        [("hand", "appeared", "left", "left")],
        [("gesture", "began", "pinch", "left")],
        [("gesture", "began", "grab", "left")],
        [],
        [("gesture", "ended", "pinch", "left")],
        [("gesture", "ended", "grab", "left"), ("hand", "lost", "left", "left")],
    ]
