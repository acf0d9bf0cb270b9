"""What happened between one published set and the next."""

from app.transport.messages import CameraReport, PoseSet
from app.worker.events import Events
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
