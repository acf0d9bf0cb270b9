"""The time line of a replay, as a picture."""

from app.viewer import palette
from app.viewer.recording_card import duration
from app.viewer.replay import Replay
from app.viewer.sheet import Sheet

HEIGHT = 34
_LEFT, _RIGHT = 150, 150
_SECOND_NS = 1e9


def time_line(width: float, replay: Replay, scale: float) -> Sheet:
    """`width` units wide: play or pause, the time shown, a bar of what is kept and what was asked for, speed, loop."""
    sheet = Sheet(width, HEIGHT, scale)
    middle = HEIGHT / 2
    if replay.playing:
        sheet.triangle(16, 28, middle, 7, palette.GOOD)
    else:
        sheet.box(16, middle - 6, 20, middle + 6, palette.WARNING)
        sheet.box(24, middle - 6, 28, middle + 6, palette.WARNING)
    at_s, all_s = ((ns - replay.first_ns) / _SECOND_NS for ns in (replay.position_ns, replay.last_ns))
    tenths = int(max(at_s, 0) * 10) % 10
    sheet.text(f"{duration(at_s)}.{tenths} / {duration(all_s)}", 42, middle, 14, palette.TEXT)
    right = width - _RIGHT
    sheet.box(_LEFT, middle - 3, right, middle + 3, palette.GRID)
    kept_ns = replay.history.times_ns[0] if len(replay.history) else replay.first_ns
    begin, newest, wanted, now = (
        _x(replay, ns, width) for ns in (kept_ns, replay.newest_ns, replay.wanted_ns, replay.position_ns)
    )
    sheet.box(newest, middle - 3, wanted, middle + 3, palette.WARNING)
    sheet.box(begin, middle - 3, newest, middle + 3, palette.FRUSTUM)
    sheet.disc(now, middle, 7, palette.TEXT)
    sheet.text(f"{replay.speed:g}x", right + 20, middle, 14, palette.TEXT)
    if replay.loops:
        sheet.badge("loop", right + 66, middle, palette.GOOD, 13)
    return sheet


def time_at(replay: Replay, x: float, width: float) -> int | None:
    """The recording's time under a place of the time line, in units; None left of the bar, where play and pause are."""
    if x < _LEFT - 12:
        return None
    share = min(max((x - _LEFT) / max(width - _LEFT - _RIGHT, 1.0), 0.0), 1.0)
    return round(replay.first_ns + share * (replay.last_ns - replay.first_ns))


def _x(replay: Replay, time_ns: int, width: float) -> float:
    share = (time_ns - replay.first_ns) / (replay.last_ns - replay.first_ns)
    return _LEFT + min(max(share, 0.0), 1.0) * (width - _LEFT - _RIGHT)
