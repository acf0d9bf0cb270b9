"""Which hand each row of a pose file is of: its track and side, put right and, for `--join`, together."""

import logging
from pathlib import Path
from typing import get_args

import numpy as np

from calibration.errors import UserError
from calibration.hand import Side

log = logging.getLogger(__name__)

_MOST_TWICE = 0.1
"""Of a side's frames: with more, they are of two people."""

Rows = dict[str, np.ndarray]
"""Arrays of equal length by name, `time`, `track` and `hand` among them."""


def one_side_each(rows: Rows, arms: Rows) -> None:
    """Give each track, in place, the side that most of its rows have, since that can be corrected while it is followed.

    A track that is there on both sides at once stays two hands.
    """
    for track in np.unique(rows["track"]).tolist():
        of_track = rows["track"] == track
        sides = [side for side in get_args(Side) if (of_track & (rows["hand"] == side)).any()]
        times = [rows["time"][of_track & (rows["hand"] == side)] for side in sides]
        if len(sides) == 2 and not len(np.intersect1d(times[0], times[1])):
            side = sides[int(len(times[1]) > len(times[0]))]
            for each in (rows, arms):
                if each:
                    each["hand"] = np.where(each["track"] == track, side, each["hand"])


def joined(path: Path, rows: Rows, arms: Rows) -> Rows:
    """The rows with one hand on each side, under its first track's number, which its arm's rows get in place.

    Where two are there at once, the one that is there in more frames stays, with its arm. Raises UserError where that
    is often.
    """
    keep = np.ones(len(rows["time"]), bool)
    for side in get_args(Side):
        of_side = np.flatnonzero(rows["hand"] == side)
        if not len(of_side):
            continue
        tracks, counts = np.unique(rows["track"][of_side], return_counts=True)
        rank = counts[np.searchsorted(tracks, rows["track"][of_side])]
        ordered = of_side[np.lexsort((-rank, rows["time"][of_side]))]
        twice = ordered[1:][np.diff(rows["time"][ordered]) == 0]
        if len(twice) > _MOST_TWICE * len(of_side):
            raise UserError(
                f"{path}: two {side} hands are there at once in {len(twice)} of {len(of_side) - len(twice)} frames, so "
                "they are not of one person. Leave `--join` out."
            )
        if len(twice):
            log.warning("frames with two %s hands: %d; the one that is there longer is taken", side, len(twice))
            _leave_out(arms, side, rows["time"][twice], rows["track"][twice])
        keep[twice] = False
        first = rows["track"][ordered[0]]
        for each in (rows, arms):
            if each:
                each["track"] = np.where(each["hand"] == side, first, each["track"])
    return {name: values[keep] for name, values in rows.items()}


def _leave_out(arms: Rows, side: Side, times_ns: np.ndarray, tracks: np.ndarray) -> None:
    """Take out, in place, the arms of these hands (n,) of a side."""
    if not arms:
        return
    out = set(zip(times_ns.tolist(), tracks.tolist(), strict=True))
    of = zip(arms["hand"].tolist(), arms["time"].tolist(), arms["track"].tolist(), strict=True)
    stays = np.array([hand != side or (time_ns, track) not in out for hand, time_ns, track in of], bool)
    for name in arms:
        arms[name] = arms[name][stays]
