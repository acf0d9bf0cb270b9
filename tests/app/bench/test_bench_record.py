"""`usthand bench record`: each setting records, and is told with what was lost and what it cost."""

import pytest

from app.bench.record import SETTINGS
from tests.support.live_run import last_json, usthand


@pytest.mark.slow
def test_each_setting_is_recorded_and_what_it_copies_is_what_was_sent():
    done = usthand("bench", "record", "--seconds", "4", "--cameras", "2", "--width", "320", "--height", "240", "--json")
    assert done.returncode == 0, done.stderr
    rows = {row["setting"]: row for row in last_json(done.stdout)["rows"]}
    assert list(rows) == list(SETTINGS)
    codecs = [row["codec"] for row in rows.values()]
    assert codecs[-2:] == ["ffv1", "mjpeg"] and all("264" in codec for codec in codecs[:3])
    assert all(row["frames"] > 0 and row["dropped"] >= 0 and row["mb_per_s"] > 0 for row in rows.values())
    bytes_each = {name: row["mb_per_s"] * row["seconds"] / row["frames"] for name, row in rows.items()}
    assert bytes_each["lossless"] > bytes_each["copy"], "JPEGs are smaller than all their pixels"
