"""Frame sets from simulated arrivals, against the sets that were really exposed together."""

from dataclasses import replace

import numpy as np
import pytest

from app.assembly.synchroniser import Synchroniser
from app.run.policy import ReplayPolicy
from calibration.frames import Frame, FrameSet
from calibration.rig import SyncSettings

MS = 1_000_000
PERIOD = 33_333_333
PIXELS = np.zeros((1, 1, 3), np.uint8)


class Arrival:
    """A frame, when it arrives, and the moment (tick) it truly belongs to."""

    def __init__(self, camera: str, tick: int, capture_ns: float, delay_ns: float, sequence: int | None = None) -> None:
        self.tick = tick
        self.at_ns = round(capture_ns + delay_ns)
        number = tick if sequence is None else sequence
        self.frame = Frame(
            camera_id=camera,
            sequence=number,
            capture_time_ns=round(capture_ns),
            grab_time_ns=self.at_ns,
            publish_time_ns=self.at_ns,
            pixels=PIXELS,
        )


def play(synchroniser: Synchroniser, arrivals: list[Arrival], step_ns: int = MS) -> list[FrameSet]:
    """Feed the arrivals in order of time, closing sets every millisecond as the worker would."""
    arrivals = sorted(arrivals, key=lambda arrival: arrival.at_ns)
    sets: list[FrameSet] = []
    for camera in {arrival.frame.camera_id for arrival in arrivals}:
        synchroniser.starts(camera)
    now = arrivals[0].at_ns
    last = arrivals[-1].at_ns + 500 * MS
    while now < last:
        while arrivals and arrivals[0].at_ns <= now:
            synchroniser.add(arrivals.pop(0).frame, now)
        while (closed := synchroniser.pop(now)) is not None:
            sets.append(closed)
        now += step_ns
    return sets


def steady(camera: str, ticks: int, phase_ms=0.0, delay_ms=5.0, jitter_ms=0.0, every=1, seed=0, start=0):
    noise = np.random.default_rng([seed, len(camera)]).uniform(-jitter_ms, jitter_ms, ticks) * MS
    return [
        Arrival(
            camera, tick, 1_000 * MS + tick * PERIOD + phase_ms * MS + noise[tick - start], delay_ms * MS, tick // every
        )
        for tick in range(start, start + ticks, every)
    ]


def ticks_of(frame_set: FrameSet, arrivals: list[Arrival]) -> dict[str, int]:
    tick = {(arrival.frame.camera_id, arrival.frame.sequence): arrival.tick for arrival in arrivals}
    return {camera: tick[camera, frame.sequence] for camera, frame in frame_set.frames.items()}


def test_cameras_in_phase_form_complete_sets_in_order():
    cameras = ["a", "bb", "ccc", "dddd"]
    arrivals = [a for camera in cameras for a in steady(camera, 90, jitter_ms=3)]
    synchroniser = Synchroniser(cameras, SyncSettings())
    sets = play(synchroniser, arrivals)
    assert [set(ticks_of(s, arrivals).values()) for s in sets] == [{tick} for tick in range(90)]
    assert all(len(s.frames) == 4 for s in sets)
    assert all(c.dropped == c.late == c.stale == 0 and c.frames == 90 for c in synchroniser.counters.values())


def test_free_running_phases_are_matched_with_the_least_spread():
    phases = {"a": 0.0, "bb": 20.0, "ccc": 28.0, "dddd": 31.0}
    arrivals = [a for camera, phase in phases.items() for a in steady(camera, 200, phase, jitter_ms=1)]
    sets = play(Synchroniser(phases, SyncSettings()), arrivals)
    # On the circle of 33.3 ms the phases lie within 13.3 ms: from 20 over 33.3 (= 0 of the next tick).
    settled = sets[40:-2]
    assert all(len(s.frames) == 4 for s in settled)
    assert np.median([s.spread_ns for s in settled]) == pytest.approx(13.3 * MS, abs=2 * MS)


def test_jitter_of_a_third_of_the_period_does_not_mix_moments():
    phases = {"a": 0.0, "bb": 9.0, "ccc": -9.0}
    arrivals = [a for camera, phase in phases.items() for a in steady(camera, 300, phase, jitter_ms=6, seed=3)]
    sets = play(Synchroniser(phases, SyncSettings()), arrivals)
    settled = sets[60:-2]
    assert all(len(set(ticks_of(s, arrivals).values())) == 1 for s in settled)
    assert np.mean([len(s.frames) for s in settled]) == 3


def test_a_camera_at_half_the_rate_joins_every_second_set_and_delays_none():
    arrivals = steady("a", 200) + steady("bb", 200) + steady("ccc", 200, every=2)
    synchroniser = Synchroniser(["a", "bb", "ccc"], SyncSettings())
    sets = play(synchroniser, arrivals)
    settled = sets[20:-2]
    counts = [len(s.frames) for s in settled]
    assert sorted(set(counts)) == [2, 3]
    assert abs(counts.count(3) - counts.count(2)) <= 1
    # The last frame of a set arrives 5 ms after its moment; no set waits for a frame that cannot come.
    assert max(s.closed_time_ns - s.reference_time_ns for s in settled) <= 7 * MS


def test_a_dead_camera_costs_one_deadline_and_its_return_is_noticed():
    alive = [a for camera in ("a", "bb") for a in steady(camera, 240)]
    broken = [a for a in steady("ccc", 240) if not 80 <= a.tick < 160]
    synchroniser = Synchroniser(["a", "bb", "ccc"], SyncSettings())
    sets = play(synchroniser, alive + broken)
    by_tick = {min(ticks_of(s, alive + broken).values()): s for s in sets}
    assert sorted(by_tick) == list(range(240))
    assert all("ccc" in by_tick[tick].frames for tick in range(170, 238))
    waits = [by_tick[tick].closed_time_ns - by_tick[tick].reference_time_ns for tick in range(90, 155)]
    assert max(waits) <= 7 * MS


def test_what_comes_after_the_deadline_is_late_and_counted():
    on_time = [a for camera in ("a", "bb") for a in steady(camera, 60)]
    slow = steady("ccc", 60)
    for arrival in slow[30:40]:
        arrival.at_ns += 120 * MS
    synchroniser = Synchroniser(["a", "bb", "ccc"], SyncSettings())
    sets = play(synchroniser, on_time + slow)
    assert len(sets) == 60
    absent = [tick for tick, s in enumerate(sets) if "ccc" not in s.frames]
    assert synchroniser.counters["ccc"].late == len(absent) == 10


def test_a_gap_in_the_counter_is_a_dropped_frame():
    arrivals = [
        a for camera in ("a", "bb") for a in steady(camera, 60) if (camera, a.tick) not in {("a", 20), ("a", 21)}
    ]
    synchroniser = Synchroniser(["a", "bb"], SyncSettings())
    sets = play(synchroniser, arrivals)
    assert synchroniser.counters["a"].dropped == 2
    assert synchroniser.counters["bb"].dropped == 0
    assert [tick for tick, s in enumerate(sets) if "a" not in s.frames] == [20, 21]


def test_trigger_counters_match_whatever_the_time_stamps_say():
    """Counters start anywhere; driver delays vary by more than a period; the pulse decides."""
    rng = np.random.default_rng(5)
    arrivals = []
    for camera, base in (("a", 100), ("bb", 7), ("ccc", 0)):
        for tick in range(100):
            stamp = 1_000 * MS + tick * PERIOD + (0 if tick < 3 else rng.uniform(0, 25) * MS)
            arrivals.append(Arrival(camera, tick, stamp, 30 * MS, base + tick))
    arrivals = [a for a in arrivals if (a.frame.camera_id, a.tick) != ("bb", 50)]
    settings = SyncSettings(mode="trigger", fps=30.0)
    sets = play(Synchroniser(["a", "bb", "ccc"], settings), arrivals)
    assert [set(ticks_of(s, arrivals).values()) for s in sets] == [{tick} for tick in range(100)]
    assert [tick for tick, s in enumerate(sets) if len(s.frames) < 3] == [50]
    assert all(s.spread_ns == 0 for s in sets)


def test_a_replay_waits_for_all_and_skips_nothing():
    """One camera's frames come two seconds after the others': every set is still complete."""
    arrivals = steady("a", 50) + steady("bb", 50, delay_ms=2000)
    synchroniser = Synchroniser(["a", "bb"], SyncSettings(fps=30.0), ReplayPolicy(), {})
    sets = play(synchroniser, arrivals)
    assert [len(s.frames) for s in sets] == [2] * 50


def test_a_replay_goes_on_when_a_recording_ends_earlier():
    arrivals = steady("a", 50) + steady("bb", 30)
    synchroniser = Synchroniser(["a", "bb"], SyncSettings(fps=30.0), ReplayPolicy(), {})
    sets = play(synchroniser, arrivals)
    assert len(sets) == 30
    synchroniser.stops("bb")
    while (closed := synchroniser.pop(0)) is not None:
        sets.append(closed)
    assert [len(s.frames) for s in sets] == [2] * 30 + [1] * 20


def test_a_restarted_counter_is_no_loss():
    arrivals = steady("a", 40) + steady("bb", 40)
    again = steady("a", 40, start=50) + [
        Arrival("bb", tick, 1_000 * MS + tick * PERIOD, 5 * MS, tick - 50) for tick in range(50, 90)
    ]
    synchroniser = Synchroniser(["a", "bb"], SyncSettings())
    sets = play(synchroniser, arrivals + again)
    assert synchroniser.counters["bb"].dropped == 0
    assert len(sets[-1].frames) == 2


def late_by(known_ms: float, camera: str, ticks: int, jitter_ms: float = 2.0) -> list[Arrival]:
    """A camera whose frames come so much later than they were taken, with that already taken off their times."""
    return steady(camera, ticks, delay_ms=5.0 + known_ms, jitter_ms=jitter_ms)


@pytest.mark.parametrize("known_ms", [60, 150])
def test_a_camera_that_is_known_to_come_late_is_waited_for(known_ms):
    arrivals = [a for camera in ("a", "bb", "ccc") for a in steady(camera, 120)] + late_by(known_ms, "dddd", 120)
    synchroniser = Synchroniser(["a", "bb", "ccc", "dddd"], SyncSettings(fps=30.0))
    sets = play(synchroniser, arrivals)
    assert all(len(s.frames) == 4 for s in sets[10:])
    assert all(len(set(ticks_of(s, arrivals).values())) == 1 for s in sets[10:])
    assert synchroniser.counters["dddd"].late <= 10
    assert synchroniser.notes == {}


def test_a_camera_that_comes_later_than_a_set_waits_is_named_and_not_waited_for():
    arrivals = [a for camera in ("a", "bb") for a in steady(camera, 120)] + late_by(400, "ccc", 120)
    synchroniser = Synchroniser(["a", "bb", "ccc"], SyncSettings())
    sets = play(synchroniser, arrivals)
    waited = [s.closed_time_ns - s.reference_time_ns for s in sets]
    assert max(waited) <= 5 * MS + 251 * MS
    assert max(waited[70:]) <= 6 * MS
    assert list(synchroniser.notes) == ["ccc"]
    assert "400 ms after" in synchroniser.notes["ccc"]
    assert "sync.deadline_ms" in synchroniser.notes["ccc"]


def test_a_camera_that_came_too_late_is_waited_for_again_once_it_comes_in_time():
    arrivals = [a for camera in ("a", "bb") for a in steady(camera, 300)]
    arrivals += late_by(400, "ccc", 120) + steady("ccc", 165, delay_ms=105.0, start=135)
    synchroniser = Synchroniser(["a", "bb", "ccc"], SyncSettings(fps=30.0))
    sets = play(synchroniser, arrivals)
    assert all("ccc" not in s.frames for s in sets[70:120])
    assert all(len(s.frames) == 3 for s in sets[150:])
    assert synchroniser.notes == {}


def at_rate(camera: str, fps: float, seconds: float, phase_ms: float = 0.0, jitter_ms: float = 2.0):
    noise = np.random.default_rng([7, len(camera)]).uniform(-jitter_ms, jitter_ms, round(seconds * fps)) * MS
    return [
        Arrival(camera, number, 1_000 * MS + number / fps * 1e9 + phase_ms * MS + noise[number], 5 * MS)
        for number in range(round(seconds * fps))
    ]


def test_each_frame_of_a_slower_camera_joins_the_nearest_set():
    """Two at 30 and two at 25 frames/s: a third of the sets had one view."""
    arrivals = at_rate("a", 30, 20) + at_rate("bb", 30, 20, 10) + at_rate("ccc", 25, 20, 20) + at_rate("dddd", 25, 20)
    synchroniser = Synchroniser(["a", "bb", "ccc", "dddd"], SyncSettings())
    settled = play(synchroniser, arrivals)[40:-4]
    views = np.array([len(s.frames) for s in settled])
    assert np.mean(views >= 2) > 0.98
    assert views.mean() > 3.5
    seconds = (settled[-1].reference_time_ns - settled[0].reference_time_ns) / 1e9
    assert len(settled) / seconds == pytest.approx(30, rel=0.03)
    used = {camera: sum(camera in s.frames for s in settled) / seconds for camera in ("a", "bb", "ccc", "dddd")}
    assert used == pytest.approx({"a": 30, "bb": 30, "ccc": 25, "dddd": 25}, rel=0.03)


def test_one_fast_camera_makes_no_sets_of_one_view():
    arrivals = at_rate("a", 60, 10) + [a for n, c in enumerate(("bb", "ccc")) for a in at_rate(c, 30, 10, 10 * n)]
    settled = play(Synchroniser(["a", "bb", "ccc"], SyncSettings(fps=60.0)), arrivals)[40:-4]
    assert all(len(s.frames) == 3 for s in settled)


@pytest.mark.parametrize("size", [2, 5])
def test_a_camera_whose_frames_come_in_bursts_costs_its_own_view_only(size):
    """As over Wi-Fi: so many come at once, and are stamped then."""
    bursts = []
    for arrival in steady("ccc", 200):
        number = arrival.frame.sequence
        at = (number // size + 1) * size * PERIOD + 1_000 * MS + number % size * 100_000
        bursts.append(Arrival("ccc", number, at, 0))
    arrivals = [a for camera in ("a", "bb") for a in steady(camera, 200)] + bursts
    synchroniser = Synchroniser(["a", "bb", "ccc"], SyncSettings())
    settled = play(synchroniser, arrivals)[40:-2]
    assert all({"a", "bb"} <= set(s.frames) for s in settled)
    assert synchroniser.counters["a"].dropped == synchroniser.counters["bb"].dropped == 0


def test_a_rate_in_the_rig_file_that_the_cameras_contradict_is_named_and_not_gone_by():
    """Webcams that halve their rate in dim light."""
    phases = {"a": 0.0, "bb": 20.0, "ccc": 40.0, "dddd": 0.0}
    arrivals = [a for camera, phase in phases.items() for a in at_rate(camera, 15, 12, phase)]
    synchroniser = Synchroniser(phases, SyncSettings(fps=30.0))
    settled = play(synchroniser, arrivals)[30:-2]
    assert all(len(s.frames) == 4 for s in settled)
    assert set(synchroniser.notes) == set(phases)
    assert "15 frames/s" in synchroniser.notes["a"]
    assert "sync.fps: 30" in synchroniser.notes["a"]


def test_nonsense_time_stamps_of_one_camera_cost_its_own_view_only():
    rng = np.random.default_rng(2)
    nonsense = [Arrival("a", tick, a.at_ns - rng.uniform(0, 400) * MS, 0) for tick, a in enumerate(steady("a", 200))]
    for arrival, honest in zip(nonsense, steady("a", 200), strict=True):
        arrival.at_ns = honest.at_ns
    arrivals = nonsense + [a for camera in ("bb", "ccc") for a in steady(camera, 200)]
    synchroniser = Synchroniser(["a", "bb", "ccc"], SyncSettings())
    settled = play(synchroniser, arrivals)[20:-2]
    assert np.mean([{"bb", "ccc"} <= set(s.frames) for s in settled]) > 0.97


def test_a_trigger_counter_that_jumps_blacks_out_nobody():
    arrivals = [a for camera in ("a", "bb", "ccc") for a in steady(camera, 200)]
    for arrival in arrivals:
        if arrival.frame.camera_id == "a" and arrival.tick >= 60:
            arrival.frame = replace(arrival.frame, sequence=arrival.frame.sequence + 100_000)
    synchroniser = Synchroniser(["a", "bb", "ccc"], SyncSettings(mode="trigger", fps=30.0))
    sets = play(synchroniser, arrivals)
    assert sum(len(s.frames) == 3 for s in sets) >= 198
    assert synchroniser.counters["a"].dropped == 0


def triggered(cameras: dict[str, dict], ticks: int, fps: float) -> list[Arrival]:
    """Of each camera every pulse from its `first` on; its first frame comes `held_ms` late, `lost` ones nobody counts.
    The last camera's frames come before the others'."""
    arrivals = []
    for sooner_ms, (camera, of) in enumerate(cameras.items()):
        seen = [tick for tick in range(of.get("first", 0), ticks) if tick not in of.get("lost", ())]
        for count, tick in enumerate(seen):
            late_ns = of.get("held_ms", 0) * MS if count == 0 else 0
            arrivals.append(Arrival(camera, tick, 1_000 * MS + tick * 1e9 / fps + late_ns, (5 - sooner_ms) * MS, count))
    return arrivals


@pytest.mark.parametrize("settings_fps", [None, 30.0])
@pytest.mark.parametrize(
    "wrong", [{"first": 12, "held_ms": 25}, {"held_ms": 40}, {"lost": range(60, 61)}, {"lost": range(60, 69)}]
)
def test_pulses_that_one_camera_counts_wrongly_are_counted_anew(settings_fps: float | None, wrong: dict):
    """Its first frame is delayed, or it loses frames without counting them: it was a pulse behind to the end."""
    arrivals = triggered({"a": {}, "bb": wrong, "ccc": {"first": 5}}, 250, fps=30)
    synchroniser = Synchroniser(["a", "bb", "ccc"], SyncSettings(mode="trigger", fps=settings_fps))
    settled = play(synchroniser, arrivals)[-100:]
    assert all(len(s.frames) == 3 and len(set(ticks_of(s, arrivals).values())) == 1 for s in settled)


@pytest.mark.parametrize("fps", [15, 25, 120])
def test_a_trigger_at_another_rate_than_the_rig_file_says_makes_whole_sets(fps: float):
    """At half of it no set had two views."""
    arrivals = triggered({"a": {}, "bb": {"first": 12}, "ccc": {"first": 24}}, 250, fps)
    settled = play(Synchroniser(["a", "bb", "ccc"], SyncSettings(mode="trigger", fps=30.0)), arrivals)[-100:]
    assert all(len(s.frames) == 3 and len(set(ticks_of(s, arrivals).values())) == 1 for s in settled)


def test_after_a_pause_of_the_trigger_sets_go_on_at_once():
    """At 25 Hz, which no rig file says, an hour after the machine was started."""
    period, hour = 40 * MS, 3600 * 1000 * MS
    synchroniser = Synchroniser(["a", "bb"], SyncSettings(mode="trigger"))

    def pulses(numbers: range) -> list[Arrival]:
        return [Arrival(camera, n, hour + n * period, 5 * MS) for camera in ("a", "bb") for n in numbers]

    assert len(play(synchroniser, pulses(range(250)))) == 250
    for camera in ("a", "bb"):
        synchroniser.stops(camera)
    sets = play(synchroniser, pulses(range(375, 625)))
    assert len(sets) == 250 and all(len(s.frames) == 2 for s in sets)
    assert sum(each.late for each in synchroniser.counters.values()) == 0


def test_the_other_cameras_go_on_together_when_the_first_one_stays_away():
    """The phases of those that are left are still measured, also when its clock tick has long stood still."""
    phases_ms = {"a": 0.0, "bb": 2.0, "ccc": 13.0, "dddd": 25.0}
    seconds = 300
    synchroniser = Synchroniser(list(phases_ms), SyncSettings(mode="time"))

    def frames(cameras: list[str], ticks: int, start: int) -> list[Arrival]:
        return [a for c in cameras for a in steady(c, ticks, phases_ms[c], jitter_ms=0.2, start=start)]

    play(synchroniser, frames(list(phases_ms), 300, 0))
    synchroniser.stops("a")
    alone = play(synchroniser, frames(["bb", "ccc", "dddd"], 30 * seconds, 330), step_ns=5 * MS)
    assert np.mean([len(each.frames) == 3 for each in alone[-1000:]]) > 0.98
