"""The list of keys."""

from collections.abc import Sequence

from app.viewer import palette
from app.viewer.keys import MOUSE, Key
from app.viewer.sheet import Sheet

_COLUMN, _ROW, _TOP = 420, 25, 58


def help_card(keys: Sequence[Key], states: dict[str, bool], saved: Sequence[int], scale: float) -> Sheet:
    """In two columns, with the mouse below. `states` says of an action whether it is on; `saved` which views are."""
    rows = -(-(len(keys) + len(MOUSE)) // 2)
    sheet = Sheet(2 * _COLUMN, _TOP + _ROW * rows + 8, scale)
    sheet.frame(palette.GRID)
    sheet.text("Keys and mouse", 22, 26, 18, palette.TEXT)
    views = f"saved views: {' '.join(map(str, saved))}" if saved else "no views are saved"
    sheet.text(views, 2 * _COLUMN - 22, 26, 13, palette.QUIET, align=1)
    listed = [(key.chord, key.meaning, key.action) for key in keys] + [(chord, what, "") for chord, what in MOUSE]
    for number, (chord, meaning, action) in enumerate(listed):
        left, y = _COLUMN * (number // rows), _TOP + _ROW * (number % rows)
        sheet.text(chord, left + 22, y, 14, palette.WARNING)
        sheet.text(meaning, left + 138, y, 14, palette.TEXT)
        if action in states:
            on = states[action]
            colour = palette.GOOD if on else palette.QUIET
            sheet.text("on" if on else "off", left + _COLUMN - 22, y, 14, colour, align=1)
    return sheet
