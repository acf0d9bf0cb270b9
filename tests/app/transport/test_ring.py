"""The shared-memory ring between real processes: nothing torn is ever taken for whole."""

import subprocess
import sys
import textwrap

import msgspec
import numpy as np
import pytest

from app.transport.ring import RingReader, RingWriter, SlotRef, ring_slots
from tests.conftest import ROOT
from tests.support.live_run import named_memory

HEIGHT, WIDTH = 48, 64


def test_a_frame_is_read_as_it_was_written():
    writer, reader = RingWriter(HEIGHT, WIDTH, slots=3), RingReader()
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    with writer.write() as (pixels, ref):
        pixels[:] = image
    view = reader.view(ref)
    assert view is not None
    assert np.array_equal(view, image)
    assert not view.flags.writeable
    assert reader.intact(ref)
    reader.close()
    writer.close()


def test_an_overwritten_slot_is_refused_before_and_after_its_use():
    writer, reader = RingWriter(HEIGHT, WIDTH, slots=2), RingReader()
    refs = []
    for value in range(2):
        with writer.write() as (pixels, ref):
            pixels[:] = value
        refs.append(ref)
    assert reader.view(refs[0]) is not None
    with writer.write() as (pixels, ref):
        pixels[:] = 9
    assert not reader.intact(refs[0])
    assert reader.view(refs[0]) is None
    assert reader.intact(refs[1])
    assert reader.intact(ref)


def test_a_ring_is_not_taken_for_an_earlier_one_that_had_its_descriptor():
    """As of a camera whose images change their size and back: what a reader has mapped is then no longer the ring."""
    reader, value = RingReader(), 0
    for height, width, frames in ((HEIGHT, WIDTH, 5), (HEIGHT // 2, WIDTH, 1), (HEIGHT, WIDTH, 5)):
        writer = RingWriter(height, width, slots=4)
        for _ in range(frames):
            value += 1
            with writer.write() as (pixels, ref):
                pixels[:] = value
            view = reader.view(ref)
            assert view is not None
            assert (view == value).all()
            assert reader.intact(ref)
        writer.close()


def test_a_slot_that_is_being_written_is_refused():
    writer, reader = RingWriter(HEIGHT, WIDTH, slots=2), RingReader()
    with writer.write() as (pixels, ref):
        pixels[:] = 1
        assert reader.view(ref) is None
    assert reader.view(ref) is not None


def test_a_failed_write_leaves_the_slot_invalid():
    writer, reader = RingWriter(HEIGHT, WIDTH, slots=2), RingReader()
    seen: list[SlotRef] = []
    try:
        with writer.write() as (pixels, ref):
            seen.append(ref)
            pixels[:] = 1
            raise ValueError("corrupt")
    except ValueError:
        pass
    assert reader.view(seen[0]) is None


def test_a_reader_that_races_a_fast_writer_never_believes_a_torn_frame():
    """Every frame is one value all over; the writer process laps the reader all the time."""
    code = textwrap.dedent(
        """
        import sys, msgspec, numpy as np
        from app.transport.ring import RingWriter
        writer = RingWriter(480, 640, slots=2)
        out = sys.stdout.buffer
        for value in range(4000):
            with writer.write() as (pixels, ref):
                pixels[:] = value % 251
            if value % 3 == 0:
                out.write(msgspec.json.encode([value % 251, ref]) + b"\\n")
                out.flush()
        sys.stdin.read()
        """
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdin is not None
    reader = RingReader()
    whole = refused = 0
    for _ in range(4000 // 3 + 1):
        value, data = msgspec.json.decode(process.stdout.readline())
        ref = msgspec.convert(data, SlotRef)
        view = reader.view(ref)
        copy = None if view is None else view.copy()
        if copy is None or not reader.intact(ref):
            refused += 1
        else:
            whole += 1
            assert (copy == value).all()
    process.stdin.close()
    process.wait()
    assert whole > 0
    assert whole + refused == 4000 // 3 + 1


def test_nothing_is_left_of_a_writer_that_was_killed():
    code = (
        "from app.transport.ring import RingWriter; import os, time\n"
        "w = RingWriter(480, 640)\n"
        "with w.write() as (p, r): p[:] = 7\n"
        "print(r.pid, r.fd, r.slot, r.ticket, r.slots, flush=True)\n"
        "time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    pid, fd, slot, ticket, slots = map(int, process.stdout.readline().split())
    ref = SlotRef(pid=pid, fd=fd, slot=slot, ticket=ticket, height=480, width=640, slots=slots)
    reader = RingReader()
    held = reader.view(ref)
    assert named_memory(pid) == []
    process.kill()
    process.wait()
    assert held is not None
    assert (held == 7).all(), "a frame in use survives its writer"
    assert RingReader().view(ref) is None


@pytest.mark.parametrize(
    ("fps", "height", "width", "slots"),
    [(None, 480, 640, 12), (30.0, 480, 640, 12), (120.0, 480, 640, 48), (120.0, 2160, 3840, 12), (1e9, 480, 640, 138)],
)
def test_a_fast_camera_has_a_ring_of_as_much_time_as_others(fps, height: int, width: int, slots: int) -> None:
    assert ring_slots(12, fps, height, width) == slots
