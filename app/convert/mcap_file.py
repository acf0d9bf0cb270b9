"""MCAP for Foxglove: the hands as a scene, and the same numbers to plot.

https://mcap.dev/spec, https://docs.foxglove.dev/docs/sdk/schemas/scene-update
"""

import json
from pathlib import Path

import numpy as np
from mcap.writer import Writer

from app.convert.foxglove import SCENE_SCHEMA, SCENE_UPDATE, numbers_schema, removed_entity, scene_entity
from app.convert.hand_recording import HandRecording, RecordedHand
from app.convert.json_lines import arm_json
from models.hand.joint_angles import JOINT_ANGLE_NAMES

SCENE_TOPIC, NUMBERS_TOPIC = "/hands", "/hands/numbers"


def write_mcap(path: Path, recording: HandRecording) -> None:
    """Metres in the rig's axes, frame `world`; times are the recording's clock. In gaps a hand is deleted."""
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start(library="usthand convert")
        scene = _channel(writer, SCENE_TOPIC, SCENE_UPDATE, SCENE_SCHEMA)
        arms = any(hand.arm is not None for hand in recording.hands)
        numbers = _channel(writer, NUMBERS_TOPIC, "usthand.Hands", numbers_schema(arms))
        writer.add_metadata("usthand", {name: str(value) for name, value in recording.notes().items()})
        for frame, time_ns in enumerate(recording.times_ns.tolist()):
            for channel, message in (
                (scene, _scene_update(recording, frame)),
                (numbers, _numbers(recording, frame, arms)),
            ):
                # MCAP's times are unsigned.
                at_ns = max(time_ns, 0)
                writer.add_message(channel, at_ns, json.dumps(message).encode(), at_ns, frame)
        writer.finish()


def _channel(writer: Writer, topic: str, schema_name: str, schema: dict) -> int:
    schema_id = writer.register_schema(schema_name, "jsonschema", json.dumps(schema).encode())
    return writer.register_channel(topic, "json", schema_id)


def _scene_update(recording: HandRecording, frame: int) -> dict:
    """What came, and what went since the frame before."""
    time_ns = int(recording.times_ns[frame])
    went = [hand for hand in recording.hands if frame > 0 and hand.valid[frame - 1] and not hand.valid[frame]]
    return {
        "deletions": [removed_entity(hand.name, time_ns) for hand in went],
        "entities": [
            scene_entity(
                hand.name,
                hand.side,
                hand.joints_world_m[frame],
                hand.arm_at(frame)[0],
                time_ns,
                grey=bool(hand.filled[frame]),
            )
            for hand in recording.hands
            if hand.valid[frame]
        ],
    }


def _numbers(recording: HandRecording, frame: int, arms: bool) -> dict:
    """With `arms` each hand has its `arm`."""
    return {
        "frame": frame,
        "hands": [
            _hand_numbers(hand, frame) | (_arm_numbers(hand, frame) if arms else {})
            for hand in recording.hands
            if hand.valid[frame]
        ],
    }


def _arm_numbers(hand: RecordedHand, frame: int) -> dict:
    if hand.arm is None or not len(hand.arm_at(frame)[0]):
        return {"arm": None}
    return {"arm": arm_json(hand.arm, frame)}


def _hand_numbers(hand: RecordedHand, frame: int) -> dict:
    std_m = np.sqrt(np.diagonal(hand.covariance_m2[frame], axis1=1, axis2=2))
    angles_deg = np.rad2deg(hand.fit.angles_rad[frame])
    return {
        "name": hand.name,
        "hand": hand.side,
        "track": hand.track_id,
        "filled": bool(hand.filled[frame]),
        "joints_world_m": np.round(hand.joints_world_m[frame], 7).tolist(),
        "std_m": [None if not np.isfinite(row).all() else np.round(row, 7).tolist() for row in std_m],
        "confidence": np.round(np.nan_to_num(hand.confidence[frame]), 4).tolist(),
        "angles_deg": {
            name: None if not np.isfinite(angle) else round(float(angle), 4)
            for name, angle in zip(JOINT_ANGLE_NAMES, angles_deg, strict=True)
        },
    }
