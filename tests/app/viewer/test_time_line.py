"""The time line of a replay: what the user does, what the worker is told, what is shown."""

import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from app.assembly.camera_intake import CameraIntake
from app.assembly.frame_dates import FrameDates
from app.assembly.intake_sockets import Pacing
from app.capture.grabber import Pacer
from app.run.policy import ReplayPolicy
from app.sources.source import Stamp
from app.transport.messages import CameraStatus, Pace, encode
from app.transport.sockets import CommandClient, CommandServer, Publisher, ipc_address
from app.viewer.history import History
from app.viewer.play_control import PlayControl
from app.viewer.replay import Replay
from app.viewer.time_line import HEIGHT, time_at, time_line
from tests.support.viewer_scene import make_rig, make_set, report

SECOND = 1_000_000_000
STEP = SECOND // 30


class Told:
    """A worker that is told."""

    def __init__(self) -> None:
        self.wishes: list[tuple[float, int | None]] = []

    def play(self, speed: float, time_ns: int | None = None) -> None:
        self.wishes.append((speed, time_ns))


def set_at(number: int):
    return msgspec.structs.replace(make_set(0, cameras={"cam_0": report(number)}), reference_time_ns=number * STEP)


def replay_of(sets: int) -> tuple[Replay, Told]:
    told = Told()
    replay = Replay(told, 0, 299 * STEP, STEP)
    for number in range(sets):
        replay.history.add(set_at(number), {})
    replay.advance(0)
    return replay, told


def test_pause_holds_the_worker_and_play_lets_it_go_at_the_chosen_speed():
    replay, told = replay_of(10)
    replay.toggle_play()
    assert told.wishes == [(0.0, None)] and replay.stays
    replay.change_speed(1)
    assert told.wishes == [(0.0, None)], "a held worker needs no speed"
    replay.toggle_play()
    assert told.wishes[-1] == (2.0, None) and not replay.stays
    for _ in range(20):
        replay.change_speed(-1)
    assert told.wishes[-1] == (0.1, None)
    assert replay.advance(SECOND) is None, "at the edge sets come by themselves"


def test_steps_go_through_what_is_kept_and_beyond_it_ask_for_one_more_set():
    replay, told = replay_of(10)
    for wanted in (8, 7, 6):
        replay.step(-1)
        assert replay.advance(0) == wanted
    assert told.wishes == [(0.0, None)]
    for wanted in (7, 8, 9):
        replay.step(1)
        assert replay.advance(0) == wanted
    replay.step(1)
    assert told.wishes[-1] == (0.0, 10 * STEP)
    replay.history.add(set_at(10), {})
    replay.go_to_end(newest=False)
    assert replay.advance(0) == 0 and replay.position_ns == 0
    replay.step(-1)
    assert replay.position_ns == 0
    replay.go_to_end(newest=True)
    assert replay.advance(0) == 10 and not replay.is_back


def test_play_from_further_back_takes_its_time_holds_the_worker_and_then_lets_it_go():
    replay, told = replay_of(31)
    replay.advance(5 * SECOND)
    replay.skip(-1.0)
    assert told.wishes == [(0.0, None)] and replay.advance(5 * SECOND) == 0
    replay.change_speed(-1)
    seen = [replay.advance(5 * SECOND + tenth * SECOND // 10) for tenth in range(1, 20)]
    assert seen == pytest.approx([round(15 * tenth / 10) for tenth in range(1, 20)], abs=1)
    assert replay.advance(7 * SECOND + 1) == 30
    assert told.wishes[-1] == (0.5, None) and not replay.is_back


def test_a_drag_back_shows_what_was_there_and_a_drag_on_lets_the_worker_hurry():
    replay, told = replay_of(60)
    replay.drag_to(20 * STEP + STEP // 2)
    assert replay.advance(0) == 20 and replay.advance(1) is None and not replay.playing
    replay.drag_to(200 * STEP)
    assert told.wishes[-1] == (0.0, 200 * STEP) and replay.wanted_ns == 200 * STEP and not replay.is_back
    replay.drag_to(10**15)
    assert told.wishes[-1] == (0.0, 300 * STEP), "no further than the recording"


def test_a_loop_begins_again_where_the_recording_ends():
    replay, _ = replay_of(30)
    replay.end()
    assert not replay.stays
    replay.toggle_loop()
    assert replay.stays and replay.advance(SECOND) == 0
    replay.advance(SECOND + 20 * SECOND)
    assert not replay.is_back
    assert replay.advance(22 * SECOND) == 0
    replay.toggle_loop()
    replay.advance(99 * SECOND)
    assert not replay.stays


def test_history_gives_back_what_it_was_given_and_forgets_the_oldest_images_first():
    history = History(most_bytes=400_000)
    rng = np.random.default_rng(0)
    for number in range(100):
        kept = set_at(number)
        image = np.full((90, 160, 3), number, np.uint8)
        image[:45] = rng.integers(0, 255, (45, 160, 3))
        slot = kept.cameras["cam_0"].slot
        assert slot is not None
        history.add(kept, {slot: image})
        history.add(kept, {})
    assert len(history) == 100 and not history.forgets and sum(history[n].bytes for n in range(100)) <= 400_000
    lacking = [history[number].lacks_images for number in range(100)]
    assert 10 < sum(lacking) < 90 and lacking == sorted(lacking, reverse=True)
    assert history[0].pose_set == set_at(0), "what was found is kept longer"
    newest = history[len(history) - 1]
    slot = newest.pose_set.cameras["cam_0"].slot
    assert newest.pose_set == set_at(99) and slot is not None
    image = newest.image(slot, 160)
    assert image is not None and np.abs(image[60:].astype(int) - 99).max() < 8
    assert history.at(99.5 * STEP) == len(history) - 1 and history.at(-1) == 0


def test_history_forgets_the_oldest_sets_where_all_is_full():
    history = History(most_bytes=30 * len(encode(set_at(99))))
    for number in range(100):
        history.add(set_at(number), {})
    assert 20 < len(history) <= 30 and history.forgets
    assert history.times_ns == [number * STEP for number in range(100 - len(history), 100)]
    assert [history[n].pose_set for n in range(len(history))] == [set_at(n) for n in range(100 - len(history), 100)]


def test_a_place_that_is_not_kept_is_sought_in_the_videos_until_the_worker_is_there():
    replay, told = replay_of(10)
    replay.drag_to(200 * STEP)
    assert replay.sought_ns == 200 * STEP and replay.is_ahead and replay.position_ns == 200 * STEP
    replay.step(-1)
    assert replay.sought_ns == 199 * STEP and told.wishes[-1] == (0.0, 199 * STEP)
    for number in range(10, 198):
        assert replay.is_ahead
        replay.history.add(set_at(number), {})
    replay.history.add(set_at(198), {})
    assert not replay.is_ahead, "the worker has estimated all before the time asked for"
    replay.drag_to(5 * STEP)
    assert replay.sought_ns is None and replay.advance(0) == 5
    replay.history = History(most_bytes=30 * len(encode(set_at(99))))
    for number in range(200):
        replay.history.add(set_at(number), {})
    replay.drag_to(7 * STEP)
    assert replay.is_back and replay.advance(0) is None and replay.sought_ns == 7 * STEP
    replay.go_to_end(newest=False)
    assert replay.advance(0) is None and replay.sought_ns == 0
    replay.toggle_play()
    replay.advance(0)
    replay.advance(2 * SECOND)
    assert replay.sought_ns == 2 * SECOND, "it plays from the videos"
    index = replay.advance(6 * SECOND)
    assert index is not None and replay.history.times_ns[index] == 180 * STEP and replay.sought_ns is None


def test_a_place_on_the_bar_is_the_time_that_is_drawn_there():
    replay, _ = replay_of(150)
    sheet = time_line(1280, replay, 1.0).pixels
    bright = np.flatnonzero(sheet[round(HEIGHT / 2) - 5, 150:1130].min(axis=1) > 200) + 150
    found_ns = time_at(replay, float(bright.mean()), 1280)
    assert found_ns == pytest.approx(replay.position_ns, abs=STEP)
    assert time_at(replay, 20.0, 1280) is None, "there is play and pause"
    assert time_at(replay, 1279.0, 1280) == replay.last_ns
    assert time_at(replay, 200.0, 300) == replay.last_ns, "in a window that has no room for the bar"


def test_only_the_newest_wish_reaches_the_worker_and_none_waits_for_it(tmp_path: Path):
    address = ipc_address(tmp_path / "replay")
    control = PlayControl(address)
    began = time.process_time()
    for number in range(1000):
        control.play(0.0, number)
    assert time.process_time() - began < 5, "nothing was waited for"
    wishes: list[dict] = []
    server = CommandServer(address, lambda request: wishes.append(request) or {"number": request["number"]})
    until = time.monotonic() + 60
    while (not wishes or wishes[-1]["time_ns"] != 999) and time.monotonic() < until:
        server.serve()
        time.sleep(0.005)
    server.close()
    assert wishes[-1]["time_ns"] == 999 and len(wishes) < 10


class _Clock:
    """The pacing of a worker and the pacer of one grabber."""

    def __init__(self, folder: Path, pace: str) -> None:
        address = ipc_address(folder / "pace")
        self.publisher = Publisher()
        self.publisher.bind(address)
        self.pacing = Pacing(ReplayPolicy(pace=pace, frames_ahead=10**6))  # pyright: ignore[reportArgumentType]
        camera = make_rig().cameras[0]
        self.intake = CameraIntake(camera, self.pacing._policy, FrameDates(self.pacing._policy))
        self.intake.status = CameraStatus(camera_id="cam_0", state="streaming", first_capture_time_ns=100 * SECOND)
        self.pacer = Pacer("cam_0", address, pace == "recorded")
        until = time.monotonic() + 60
        while self.publisher.subscribers() < 1 and time.monotonic() < until:
            time.sleep(0.01)
        self.sent = 0

    def ask(self, **request: object) -> dict:
        return self.pacing.answer({"do": "play", **request})

    def sends(self, most: int) -> int:
        """How many of the next frames the grabber would send now, in a time that is enough for all that are due."""
        count, still = 0, 0
        while count < most and still < 3:
            self.pacing._sent_s = 0.0
            self.pacing.update(self.publisher, {"cam_0": self.intake})
            stamp = Stamp(
                sequence=0, capture_time_ns=100 * SECOND + self.sent * 10 * SECOND, grab_time_ns=0, recorded=True
            )
            if self.pacer.may_send(stamp):
                self.sent, count, still = self.sent + 1, count + 1, 0
            else:
                still += 1
        return count


@pytest.mark.parametrize("pace", ["recorded", "fast"])
def test_a_held_replay_sends_what_lies_before_the_time_asked_for_and_no_more(tmp_path: Path, pace: str):
    """Frames come every ten seconds of the recording, so that a slow machine changes nothing."""
    clock = _Clock(tmp_path, pace)
    clock.ask(speed=0)
    assert clock.sends(5) == 1, "the first is due"
    clock.ask(speed=0, time_ns=100 * SECOND + 35 * SECOND)
    clock.sends(99)
    assert clock.sent == 4
    clock.ask(speed=0, time_ns=100 * SECOND)
    assert clock.sends(5) == 0, "what was played is not played again"
    clock.ask(speed=64)
    assert clock.sends(6) == 6


@pytest.mark.parametrize(
    "request_",
    [{"do": "stop"}, {"speed": -1}, {"speed": "x"}, {"speed": float("nan")}, {"time_ns": "now"}, {"speed": 1e9}],
)
def test_what_is_no_request_is_refused(request_: dict):
    pacing = Pacing(ReplayPolicy())
    assert "error" in pacing.answer({"do": "play", "number": 3, **request_})
    assert pacing._speed == 1.0


def test_the_clock_of_a_pace_goes_on_from_where_it_was():
    pace = Pace(start_ns=1000, origin_ns=50_000, allowed={}, speed=0.5)
    assert pace.position_ns(1000) == 50_000 and pace.position_ns(3000) == 51_000


def test_the_client_of_a_replay_hears_an_answer(tmp_path: Path):
    address = ipc_address(tmp_path / "replay")
    server = CommandServer(address, Pacing(ReplayPolicy()).answer)
    client = CommandClient(address)
    client._socket.send(msgspec.msgpack.encode({"do": "play", "speed": 0.25, "number": 1}))
    until = time.monotonic() + 60
    while not client._socket.poll(10) and time.monotonic() < until:
        server.serve()
    assert msgspec.msgpack.decode(client._socket.recv()) == {"number": 1, "speed": 0.25}
    client.close()
    server.close()
