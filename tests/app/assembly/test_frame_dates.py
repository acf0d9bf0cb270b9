"""The times of frames against when they come."""

from app.assembly.frame_dates import FrameDates
from app.run.policy import LivePolicy, ReplayPolicy
from app.transport.messages import FrameHeader

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
    assert not FrameDates(LivePolicy()).refuses(header(10**18, recorded=True), S)
