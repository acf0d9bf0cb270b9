"""The process of a peer that has the keys and sends what it should not: at a rate, or as fast as it can.

Emits: bytes that are no messages, and messages of cameras that are not its own. Prints `connected`, and at its end
how many.
"""

import itertools
import json
import os
import struct
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from app.transport.keys import Keys
from app.transport.messages import CameraStatus, End, FrameHeader, encode
from app.transport.ring import SlotRef
from app.transport.sockets import Publisher

# Looked at the clock so often, in messages.
_STRIDE = 64


def hostile_messages(camera_ids: list[str], width: int, height: int) -> list[list[bytes]]:
    """Parts of messages, none of which may be taken for a frame of a camera."""
    now_ns = time.monotonic_ns()
    slot = SlotRef(pid=1, fd=0, slot=3, ticket=1, height=height, width=width, slots=4)
    jpeg = cv2.imencode(".jpg", np.zeros((height, width, 3), np.uint8))[1].tobytes()
    at = jpeg.index(b"\xff\xc0") + 5
    huge = jpeg[:at] + struct.pack(">HH", 65500, 65500) + jpeg[at + 4 :]
    messages = [[b"not msgpack"], [b""], [b"\x81\xa4type\xa2\xff\xff"], [b"\x81\xa1x" * 500 + b"\x01"], [b"\x01"] * 9]
    messages += [[encode(End("it is over", {}))], [os.urandom(200)], [b"\xdd\xff\xff\xff\xff"]]
    for camera_id in camera_ids:
        header = FrameHeader(
            camera_id=camera_id,
            sequence=2**40,
            capture_time_ns=now_ns + 10**9,
            grab_time_ns=now_ns,
            publish_time_ns=now_ns,
            width=width,
            height=height,
            encoding="jpeg",
            sender=7,
        )
        messages += [[encode(header), payload] for payload in (huge, jpeg[:200], b"")]
        header.slot = slot
        messages += [[encode(header)], [encode(CameraStatus(camera_id=camera_id, state="lost", sender=7))]]
    return messages


def main() -> int:
    """Send to an address: address, folder of keys, seconds, messages a second, width, height, and cameras."""
    address, keys, seconds, per_s, width, height, *camera_ids = sys.argv[1:]
    publisher = Publisher(keys=Keys(Path(keys)))
    publisher.connect(address)
    while not publisher.subscribers():
        time.sleep(0.02)
    sys.stdout.write("connected\n")
    sys.stdout.flush()
    os.nice(19)  # it stands for another machine
    messages = hostile_messages(camera_ids, int(width), int(height))
    began, sent, end_s = time.monotonic(), 0, time.monotonic() + float(seconds)
    for message in itertools.cycle(messages):
        publisher.send_parts(message)
        sent += 1
        if sent % _STRIDE == 0:
            now = time.monotonic()
            if now > end_s:
                break
            time.sleep(max(0.0, sent / float(per_s) - (now - began)))
    sys.stdout.write(json.dumps({"sent": sent, "seconds": time.monotonic() - began}) + "\n")
    publisher.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
