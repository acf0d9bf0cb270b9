"""`usthand bench record`: each setting records, and is told with what was lost and what it cost."""

import threading
from pathlib import Path

import pytest

from app.bench import record
from app.bench.record import SETTINGS
from app.run.settings import RunSettings
from app.run.supervisor import Outcome
from calibration.rig import Rig
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


def test_a_recording_that_was_told_to_end_has_no_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    told = threading.Event()
    monkeypatch.setattr(record, "stop", told)
    take = {"frames": 60, "dropped": 0, "bytes": 6_000_000}

    def run(rig: Rig, settings: RunSettings) -> Outcome:
        return Outcome(0, {"recording": {"takes": [take], "codecs": {"cam_0": "mjpeg"}}})

    def measured() -> dict | None:
        return record.bench("copy", 2, (320, 240), 30.0, 2.0, tmp_path / "session", run)

    whole = measured()
    assert whole is not None and whole["mb_per_s"] == 3.0
    told.set()
    with pytest.raises(KeyboardInterrupt):
        measured()
