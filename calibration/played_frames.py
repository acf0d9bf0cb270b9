"""Which frames of a recording are played."""

from pathlib import Path

import numpy as np

from calibration.camera_source import RecordedSource
from calibration.published_sets import read_published_sets


def played_frames(source: RecordedSource, times_ns: np.ndarray) -> np.ndarray:
    """Numbers of the frames to play, of a camera with frames at `times_ns` (n,). Raises UserError."""
    played = np.ones(len(times_ns), bool)
    if source.begin_ns is not None:
        played &= times_ns >= source.begin_ns
    if source.end_ns is not None:
        played &= times_ns < source.end_ns
    if source.published:
        sets = read_published_sets(Path(source.session))
        played &= np.isin(times_ns, [each.times_ns[source.camera] for each in sets if source.camera in each.times_ns])
    return np.flatnonzero(played)
