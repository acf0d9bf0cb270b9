"""Bytes that a peer should not have sent: counted, named, and nobody else loses by them."""

import contextlib
import struct
import threading

import cv2
import msgspec
import numpy as np
import pytest
import zmq

from app.transport.messages import FrameHeader, encode
from app.transport.ring import SlotRef
from app.transport.sockets import next_port
from tests.support.fake_grabber import FakeGrabber
from tests.support.live_run import LiveRun, free_port, rig_with_a_remote_camera


def _hostile_frames(size: tuple[int, int], time_ns: int) -> list[list[bytes]]:
    """Messages of a grabber that cam_2 might have, none of them with a picture."""
    width, height = size
    header = FrameHeader(
        camera_id="cam_2",
        sequence=1,
        capture_time_ns=time_ns,
        grab_time_ns=time_ns,
        publish_time_ns=time_ns,
        width=width,
        height=height,
        encoding="jpeg",
        sender=7,
    )
    picture = np.zeros((height, width, 3), np.uint8)
    jpeg = cv2.imencode(".jpg", picture)[1].tobytes()
    at = jpeg.index(b"\xff\xc0") + 5
    huge = jpeg[:at] + struct.pack(">HH", 65500, 65500) + jpeg[at + 4 :]
    others = [cv2.imencode(ending, picture)[1].tobytes() for ending in (".jp2", ".png", ".tiff")]
    slot = SlotRef(pid=1, fd=0, slot=3, ticket=1, height=height, width=width, slots=4)
    frames = [[encode(header), payload] for payload in (huge, jpeg[: len(jpeg) // 2], b"", *others)]
    frames.append([encode(msgspec.structs.replace(header, encoding="raw")), bytes(100)])
    return [*frames, [encode(msgspec.structs.replace(header, slot=slot, encoding=None))]]


def _send_until(stop: threading.Event, addresses: tuple[str, str], messages: list[list[bytes]]) -> None:
    frames, requests = (zmq.Context.instance().socket(kind) for kind in (zmq.PUB, zmq.DEALER))
    for peer, address in zip((frames, requests), addresses, strict=True):
        peer.set(zmq.LINGER, 0)
        peer.connect(address)
    while not stop.wait(0.002):
        for message in messages:
            frames.send_multipart(message)
        for request in (b"\xa1x", b"\x81\xa1x" * 5000 + b"\x01", b"", bytes(100_000)):
            with contextlib.suppress(zmq.Again):
                requests.send(request, zmq.NOBLOCK)
    frames.close()
    requests.close()


@pytest.mark.slow
def test_hostile_peers_cost_the_others_nothing(tmp_path):
    rig, size = rig_with_a_remote_camera(tmp_path / "rig.yaml")
    address = f"tcp://127.0.0.1:{free_port()}"
    with LiveRun(tmp_path, "live", rig, "--estimator", "simulated", "--no-viewer", "--listen", address) as run:
        run.sets(5)
        stop = threading.Event()
        garbage = [[b"not msgpack"], [b"\x81\xa4type\xa2\xff\xff"], [b"\x81\xa1x" * 5000 + b"\x01"], [b""] * 40]
        frames = _hostile_frames(size, run.sets(1)[-1].reference_time_ns)
        sends = [
            threading.Thread(target=_send_until, args=(stop, (address, next_port(address)), messages))
            for messages in (garbage, frames)
        ]
        for thread in sends:
            thread.start()
        try:
            sets = run.sets(60)
            assert all(sum(camera in each.views for each in sets) > 40 for camera in ("cam_0", "cam_1"))
            assert not any("cam_2" in each.views for each in sets)
        finally:
            stop.set()
            for thread in sends:
                thread.join()
        good = FakeGrabber(address, "cam_2", size, sender=9)
        try:
            run.poses(lambda got: sum("cam_2" in each.views for each in got) >= 5)
        finally:
            good.close()
        assert "sends what is no message of this version" in run.log.read_text()
        assert "it is ignored while it goes on" in run.log.read_text()
        assert run.interrupt()[0] == 0
        assert run.left_behind() == []
