"""What the recorder does: the take, its time, and how long the disk lasts."""

from app.transport.messages import RecordingStatus
from app.viewer import palette
from app.viewer.sheet import Sheet

_WIDTH = 252
_SHORT_S = 600


def recording_card(status: RecordingStatus, scale: float) -> Sheet:
    """The take's name and time, marks, frames that are not in its videos, disk time left, and what went wrong."""
    lines = [_disk(status)] if status.disk_s is not None else []
    lost = sum(camera.dropped for camera in status.cameras.values())
    if lost:
        lines.append((f"{lost} frames are not in it", palette.WARNING))
    if status.problem:
        lines.append((status.problem[:42], palette.BAD))
    sheet = Sheet(_WIDTH, 38 + 18 * len(lines), scale)
    if status.recording:
        sheet.disc(20, 18, 6, palette.BAD)
        sheet.text(_shortened(status.take, 16), 34, 18, 15, palette.TEXT)
        marks = f" · {status.marks} mark{'s' * (status.marks != 1)}" if status.marks else ""
        sheet.text(duration(status.seconds) + marks, _WIDTH - 12, 18, 14, palette.TEXT, align=1)
    else:
        sheet.disc(20, 18, 6, palette.STALE)
        sheet.text("not recording", 34, 18, 15, palette.QUIET)
    for row, (text, colour) in enumerate(lines):
        sheet.text(text, 34, 40 + 18 * row, 13, colour)
    return sheet


def duration(seconds: float) -> str:
    """As 0:42, 12:07 or 3:04:05."""
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _disk(status: RecordingStatus) -> tuple:
    left_s = status.disk_s or 0.0
    hours = left_s / 3600
    told = f"{hours:.0f} h" if hours >= 10 else f"{hours:.1f} h" if hours >= 1 else f"{left_s / 60:.0f} min"
    return f"disk lasts {told}", palette.QUIET if left_s > _SHORT_S else palette.WARNING


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
