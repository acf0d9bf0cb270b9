"""Damaged messages: each is decoded as a message, or refused; what is decoded fits into 64 bits."""

import random

import msgspec
import pytest

from app.transport.messages import (
    CameraStatus,
    End,
    Event,
    FrameHeader,
    Message,
    MessageRefused,
    Pace,
    RecordingStatus,
    decode,
    decode_request,
    encode,
)
from app.transport.ring import RingReader, RingWriter, SlotRef
from tests.fuzz.mutations import mutate

SLOT = SlotRef(pid=1, fd=2, slot=1, ticket=5, height=48, width=64, slots=4)
FRAME = FrameHeader(
    camera_id="cam_0", sequence=5, capture_time_ns=1, grab_time_ns=2, publish_time_ns=3, width=64, height=48, slot=SLOT
)
MESSAGES: list[Message] = [
    FRAME,
    CameraStatus(camera_id="cam_0", state="streaming", detail="all is well", fps=30.0),
    Pace(start_ns=1, origin_ns=2, allowed={"cam_0": 3}),
    RecordingStatus(recording=True, take="a"),
    Event(time_ns=1, kind="hand", subject="1", state="lost"),
    End("told", {"sets": 3, "cameras": {"cam_0": {"frames": 3}}}),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_damaged_messages(message: Message) -> None:
    whole = encode(message)
    assert decode(whole) == message
    for seed in range(2000):
        try:
            found = decode(mutate(whole, random.Random(seed)))
        except MessageRefused:
            continue
        if isinstance(found, FrameHeader):
            assert abs(found.capture_time_ns - found.grab_time_ns) < 2**63


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x81\xa4type\xa2\xff\xff",
        b"\x82\xa4type\xa3end\xa7summary" + b"\x81\xa1x" * 5000 + b"\x01",
        b"\xdd\xff\xff\xff\xff",
        encode(FRAME).replace(b"\xa8sequence\x05", b"\xa8sequence\xcf" + b"\xff" * 8),
        encode(FRAME).replace(b"\xa5width\x40", b"\xa5width\xce\xff\xff\xff\xff"),
    ],
    ids=["nothing", "no code", "no text", "deep", "four billion", "beyond 64 bits", "a wide image"],
)
def test_hostile_messages(data: bytes) -> None:
    with pytest.raises(MessageRefused):
        decode(data)


def test_hostile_requests() -> None:
    nested = [b"\x81\xa2do" + b"\x91" * depth + b"\x01" for depth in (1, 900, 5000)]
    for data in (b"", b"\xa1x", b"\x81\xa1\xff\x01", msgspec.msgpack.encode([1]), *nested):
        with pytest.raises(MessageRefused):
            decode_request(data)
    assert decode_request(msgspec.msgpack.encode({"do": "play", "speed": 0.5, "time_ns": None}))["speed"] == 0.5


def test_a_slot_that_the_ring_does_not_have_is_not_looked_at() -> None:
    writer, reader = RingWriter(48, 64, 4), RingReader()
    with writer.write() as (pixels, slot):
        pixels[:] = 7
    assert (reader.view(slot) == 7).all()
    for wrong in ({"slot": 4}, {"slot": 2**20}, {"slots": 5}, {"slots": 2**20}, {"height": 2**16, "width": 2**16}):
        assert reader.view(msgspec.structs.replace(slot, **wrong)) is None
    reader.close()
    writer.close()
