"""Tables of a recording: cameras whose names have commas and quotes, and lines that no CSV has."""

import csv
from pathlib import Path

import numpy as np
import pytest

from app.batch.dry_run import recorded_hours
from calibration.errors import UserError
from calibration.published_sets import SET_COLUMNS, SETS, read_published_sets
from calibration.session import FRAME_COLUMNS, read_frames_csv

CAMERAS = ["left, top", 'the "best"', "plain"]


def write(path: Path, rows: list) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def test_a_camera_may_have_a_comma_in_its_name(tmp_path: Path) -> None:
    times_ns = {camera_id: 10**9 * n for n, camera_id in enumerate(CAMERAS)}
    write(tmp_path / SETS, [SET_COLUMNS, *((7, camera_id, time_ns) for camera_id, time_ns in times_ns.items())])
    (published,) = read_published_sets(tmp_path)
    assert (published.index, published.times_ns) == (7, times_ns)
    rows = [(camera_id, n, n * 1800 * 10**9) for n in range(3) for camera_id in CAMERAS[:2]]
    write(tmp_path / "frames.csv", [FRAME_COLUMNS, *rows])
    frames = read_frames_csv(tmp_path / "frames.csv")
    assert list(frames) == CAMERAS[:2]
    np.testing.assert_array_equal(frames["left, top"], np.arange(3) * 1800 * 10**9)
    assert recorded_hours(str(tmp_path)) == 1.0


def test_a_quote_that_does_not_end_is_told_with_its_line(tmp_path: Path) -> None:
    table = "".join(f"cam_0,{n},{10**18 + n}\n" for n in range(10_000))
    (tmp_path / "frames.csv").write_text(f'camera,frame,time_ns\n{table}"cam_1,0,5\n{table}')
    with pytest.raises(UserError, match=r'line 10002: expected .* whole numbers; got `"cam_1,0,5`'):
        read_frames_csv(tmp_path / "frames.csv")
