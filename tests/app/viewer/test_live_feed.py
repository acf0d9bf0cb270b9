"""What a view gets of a run, from a real publisher and from the shared memory of real grabbers."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.run.settings import RunFolder
from app.transport.messages import CameraReport, PoseSet
from app.transport.ring import SlotRef
from app.transport.sockets import Publisher
from app.viewer.live_feed import LiveFeed
from tests.conftest import ROOT
from tests.support.viewer_scene import make_set

DEADLINE_S = 60
HEIGHT, WIDTH = 48, 64
GRABBER = f"""
import sys
from app.transport.ring import RingWriter
writer = RingWriter({HEIGHT}, {WIDTH}, slots=2)
with writer.write() as (pixels, slot):
    pixels[:] = int(sys.argv[1])
print(slot.pid, slot.fd, slot.slot, slot.ticket, flush=True)
sys.stdin.readline()
"""


@contextmanager
def grabber(value: int) -> Iterator[SlotRef]:
    """A process that has a frame of one value in its ring: where it lies."""
    command = [sys.executable, "-c", GRABBER, str(value)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid, fd, slot, ticket = map(int, process.stdout.readline().split())
        yield SlotRef(pid=pid, fd=fd, slot=slot, ticket=ticket, height=HEIGHT, width=WIDTH, slots=2)


def rings() -> int:
    """How many rings this process holds."""
    return Path("/proc/self/maps").read_text().count("memfd:usthand-ring")


def polled(publisher: Publisher, feed: LiveFeed, index: int, slots: dict[str, SlotRef | None]) -> None:
    """The feed has got a set of that index, with the cameras' frames."""
    cameras = {camera_id: CameraReport(state="streaming", slot=slot) for camera_id, slot in slots.items()}
    message = make_set(index, cameras=cameras)
    message.set_index = index
    end = time.monotonic() + DEADLINE_S
    while not any(isinstance(each, PoseSet) and each.set_index == index for each in feed.poll()):
        assert time.monotonic() < end
        publisher.send(message)
        time.sleep(0.005)


def test_the_memory_of_a_grabber_that_was_replaced_is_given_back(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    publisher, feed = Publisher(), LiveFeed(folder, backlog=8)
    publisher.bind(folder.poses_address)

    def shows(slot: SlotRef) -> int:
        image = feed.image(slot, WIDTH)
        assert image is not None
        return int(image.mean())

    try:
        with grabber(40) as other:
            with grabber(10) as first:
                polled(publisher, feed, 0, {"a": first, "b": other})
                assert (shows(first), shows(other), rings()) == (10, 40, 2)
                polled(publisher, feed, 1, {"a": None, "b": other})
                assert (shows(first), shows(other), rings()) == (10, 40, 2)
            with grabber(20) as second:
                polled(publisher, feed, 2, {"a": second, "b": other})
                assert (shows(second), shows(other), rings()) == (20, 40, 2)
            with grabber(30) as third:
                polled(publisher, feed, 3, {"a": third, "b": other})
                assert (shows(third), shows(other), rings()) == (30, 40, 2)
    finally:
        feed.close()
        publisher.close()
    assert rings() == 0
