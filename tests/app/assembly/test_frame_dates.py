"""The times of frames against when they come."""

from app.assembly.frame_dates import FrameDates, frame_dates
from app.run.policy import LivePolicy, ReplayPolicy
from app.transport.messages import FrameHeader
from calibration.rig import Rig
from models.simulation.simulated_rig import ring_rig

S = 1_000_000_000


def header(time_ns: int, recorded: bool = False) -> FrameHeader:
    return FrameHeader(
        camera_id="a",
        sequence=0,
        capture_time_ns=time_ns,
        grab_time_ns=time_ns,
        publish_time_ns=time_ns,
        width=1,
        height=1,
        recorded=recorded,
    )


def test_a_frame_from_the_future_is_refused_and_one_within_the_clocks_errors_is_not():
    dates = FrameDates(LivePolicy())
    assert not dates.refuses(header(100 * S + 20_000_000), 100 * S)
    assert dates.refuses(header(100 * S + 80_000_000), 100 * S)
    assert dates.refuses(header(2**63), 100 * S)
    assert not dates.refuses(header(-(2**63)), 100 * S)


def test_what_is_wrong_is_said_until_it_is_right_again(monkeypatch):
    dates, now = FrameDates(LivePolicy()), [100 * S]
    monkeypatch.setattr("app.assembly.frame_dates.time.monotonic_ns", lambda: now[0])
    assert dates.note == ""
    dates.refuses(header(130 * S), now[0])
    assert "30 s in the future" in dates.note
    now[0] += 2 * S
    assert dates.note == ""
    for _ in range(30):
        now[0] += S // 10
        dates.refuses(header(now[0] - 10 * S), now[0])
    assert "10 s old" in dates.note
    dates.refuses(header(now[0]), now[0])
    assert dates.note == ""


def test_a_recording_may_be_of_any_time():
    dates = FrameDates(ReplayPolicy())
    assert not dates.refuses(header(10**18), S)


def test_a_live_frame_that_calls_itself_recorded_is_refused_like_any_other():
    assert FrameDates(LivePolicy()).refuses(header(10**18, recorded=True), S)


def offset_rig(*offsets_s: float) -> Rig:
    rig = ring_rig(len(offsets_s))
    return rig.with_time_offsets({name: round(s * S) for name, s in zip(rig.camera_ids, offsets_s, strict=True)})


def refused(rig: Rig) -> list[str]:
    """The cameras whose frames, 20 ms old when they come, are refused."""
    return [name for name, dates in frame_dates(rig, LivePolicy()).items() if dates.refuses(header(S - S // 50), S)]


def test_a_time_offset_that_puts_frames_ahead_of_what_a_set_waits_is_named_and_the_others_are_not(monkeypatch):
    assert refused(offset_rig(0.0, 0.0, -5.0)) == refused(offset_rig(0.0, 0.0, -0.3)) == ["cam_2"]
    monkeypatch.setattr("app.assembly.frame_dates.time.monotonic_ns", lambda: S)
    dates = frame_dates(offset_rig(0.0, 0.0, -5.0), LivePolicy())["cam_2"]
    assert dates.refuses(header(S), S)
    assert "ahead of the other cameras by 5 s, by its `time_offset` in rig.yaml" in dates.note


def test_time_offsets_that_cameras_may_have_are_none_that_are_refused():
    assert refused(offset_rig(0.0, 0.0, 5.0)) == []
    assert refused(offset_rig(0.05, 0.05, 0.05, -0.15)) == []
    assert refused(offset_rig(-1.0, -1.0, -0.8)) == [], "all are shifted alike"
