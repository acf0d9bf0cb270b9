"""Run by a Python that has OpenSim: inverse kinematics of a hand model on a TRC file, and the angles that it finds.

python opensim_ik.py HAND.json MARKERS.trc FOLDER: the hand's rest joints in its own frame, the names of its markers.
The model: a palm that is free to move, a ball joint and two hinges for each finger but the thumb, a marker in each.
"""

import json
import sys
from pathlib import Path

import opensim  # pyright: ignore[reportMissingImports]

FINGERS = {"index": 5, "middle": 9, "ring": 13, "little": 17}


def build(hand: dict) -> opensim.Model:
    rest = hand["rest_joints_m"]
    model = opensim.Model()
    model.setName("hand")
    palm = body(model, "palm")
    model.addJoint(opensim.FreeJoint("wrist", model.getGround(), palm))
    for joint in (0, 1, *FINGERS.values()):
        mark(model, hand, joint, palm, rest[joint])
    zero = opensim.Vec3(0)
    for finger, first in FINGERS.items():
        parent, at = palm, rest[first]
        for level, name in enumerate(("MCP", "PIP", "DIP")):
            bone = body(model, f"{finger}_{name}")
            place = opensim.Vec3(*at)
            # A pin turns about z: the hand's y, the axis of flexion, is laid there.
            turn = opensim.Vec3(0) if level == 0 else opensim.Vec3(-1.5707963267948966, 0, 0)
            kind = opensim.BallJoint if level == 0 else opensim.PinJoint
            joint = kind(f"{finger}_{name}", parent, place, turn, bone, zero, turn)
            model.addJoint(joint)
            tip = first + level + 1
            at = [end - begin for end, begin in zip(rest[tip], rest[first + level], strict=True)]
            mark(model, hand, tip, bone, at)
            parent = bone
    model.finalizeConnections()
    return model


def body(model: opensim.Model, name: str) -> opensim.Body:
    made = opensim.Body(name, 0.05, opensim.Vec3(0), opensim.Inertia(1e-4))
    model.addBody(made)
    return made


def mark(model: opensim.Model, hand: dict, joint: int, on: opensim.Body, at: list[float]) -> None:
    model.addMarker(opensim.Marker(hand["markers"][joint], on, opensim.Vec3(*at)))


def main() -> None:
    hand, trc, folder = json.loads(Path(sys.argv[1]).read_text()), sys.argv[2], Path(sys.argv[3])
    model = build(hand)
    model.initSystem()
    tool = opensim.InverseKinematicsTool()
    tool.setModel(model)
    tool.setMarkerDataFileName(trc)
    tool.setStartTime(hand["start_s"])
    tool.setEndTime(hand["end_s"])
    tool.setOutputMotionFileName(str(folder / "found.mot"))
    tool.setResultsDir(str(folder))
    if not tool.run():
        sys.exit(1)


if __name__ == "__main__":
    main()
