"""Hands and events as JSON: what WebSocket, UDP and MQTT carry."""

import time

import msgspec
import numpy as np

from app.streams.streamed import StreamedHand, StreamedSet, arm_points, wrist_deg
from app.transport.messages import ArmPose, Event

SCHEMA_VERSION = 1
_PLACE_DIGITS, _SHARE_DIGITS, _ANGLE_DIGITS = 6, 3, 2  # micrometres, thousandths, and hundredths of a degree


def hands_json(poses: StreamedSet) -> bytes:
    """One object, without a line's end."""
    return msgspec.json.encode(
        {
            "type": "hands",
            "schema_version": SCHEMA_VERSION,
            "set_index": poses.set_index,
            "time_ns": poses.time_ns,
            "unix_time_s": unix_time_s(poses.clock_ns),
            "looked": poses.looked,
            "definition": poses.definition,
            "simulated": poses.simulated,
            "hands": [_hand(hand) for hand in poses.hands],
        }
    )


def event_json(event: Event) -> bytes:
    return msgspec.json.encode(event)


def end_json() -> bytes:
    return msgspec.json.encode({"type": "end", "schema_version": SCHEMA_VERSION})


def unix_time_s(clock_ns: int) -> float:
    """Seconds since 1970 of a time on the monotonic clock."""
    return round((time.time_ns() - time.monotonic_ns() + clock_ns) / 1e9, 6)


def _hand(hand: StreamedHand) -> dict:
    return {
        "hand": hand.side,
        "track": hand.track_id,
        "state": hand.state,
        "time_ns": hand.time_ns,
        "seen_time_ns": hand.seen_time_ns,
        "joints_world_m": np.round(hand.joints_world_m, _PLACE_DIGITS).tolist(),
        "std_m": np.round(hand.std_m, _PLACE_DIGITS).tolist(),
        "confidence": np.round(hand.confidence, _SHARE_DIGITS).tolist(),
        "gestures": hand.gestures,
        **({} if hand.arm is None else {"arm": _arm(hand.arm)}),
    }


def _arm(arm: ArmPose) -> dict:
    said: dict = {"side": arm.side, "seen_time_ns": arm.seen_time_ns}
    for name, (place_m, std_m) in arm_points(arm).items():
        said[f"{name}_world_m"] = np.round(place_m, _PLACE_DIGITS).tolist()
        said[f"{name}_std_m"] = np.round(std_m, _PLACE_DIGITS).tolist()
    wrist = wrist_deg(arm)
    if wrist is not None:
        said["wrist_deg"], said["wrist_std_deg"] = (np.round(each, _ANGLE_DIGITS).tolist() for each in wrist)
    return said
