"""When videos began: known begins are recovered from encoded sound, flashes and motion; nothing is found in nothing."""

import json
from pathlib import Path

import numpy as np
import pytest

from app.cli import main
from app.syncing.correlation import Shift, evened, normalised_shift, whitened_shift
from app.syncing.methods import METHODS, SyncMethod
from app.syncing.synchronise import DistinctSettings, synchronise
from calibration.errors import UserError
from calibration.importers import read_recording
from calibration.session import read_session
from tests.support.begun_videos import BEGUN_S, FPS, SOUND_HZ, heard, room_sound, write_videos

HEIGHT, WIDTH = 32, 48


def _noise(name: str, time_s: float, level: float = 0.0) -> np.ndarray:
    generator = np.random.default_rng([sum(name.encode()), int(time_s * 1e4)])
    return np.clip(100 + level + generator.normal(0, 6, (HEIGHT, WIDTH)), 0, 255).astype(np.uint8)


def _flashing(name: str, time_s: float) -> np.ndarray:
    return _noise(name, time_s, 60.0 if 3.0 < time_s < 3.4 or 6.3 < time_s < 6.5 else 0.0)


def _spot(name: str, time_s: float, seed: int) -> np.ndarray:
    """A bright spot that goes now fast and now slow, elsewhere in every camera."""
    pace = np.cumsum(np.random.default_rng(seed).uniform(0, 1, 400) ** 3) * 0.5
    phase = {"cam_0": 1.0, "cam_1": 0.7, "cam_2": 1.2}[name] * float(np.interp(time_s, np.arange(400) * 0.1, pace))
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    at = (16 + 10 * np.cos(4 * phase), 24 + 16 * np.sin(6 * phase))
    spot = 110 * np.exp(-((rows - at[0]) ** 2 + (columns - at[1]) ** 2) / 20)
    return np.clip(_noise(name, time_s) * 0.8 + spot, 0, 255).astype(np.uint8)


def _moving(name: str, time_s: float) -> np.ndarray:
    return _spot(name, time_s, seed=5)


def _unrelated(name: str, time_s: float) -> np.ndarray:
    return _spot(name, time_s, seed=sum(name.encode()))


def _worst_s(found: dict[str, float]) -> float:
    """The largest error of a difference between two cameras."""
    off = np.array([found[name] - BEGUN_S[name] for name in BEGUN_S])
    return float(np.ptp(off))


def test_sound_tells_to_a_fraction_of_a_millisecond(tmp_path: Path) -> None:
    recording = read_recording(write_videos(tmp_path / "videos", _noise, room_sound()))
    found = synchronise(recording, METHODS)
    assert found.method == "sound" and found.distinctness > 3
    assert _worst_s(dict(found.begin_s)) < 0.0005
    assert max(found.error_s.values()) < 0.002


@pytest.mark.parametrize(("scene", "method"), [(_flashing, "flash"), (_moving, "motion")])
def test_without_sound_a_flash_or_motion_tells_to_a_frame(scene, method: SyncMethod, tmp_path: Path) -> None:
    found = synchronise(read_recording(write_videos(tmp_path / "videos", scene)), METHODS)
    slowest_s = 1 / min(FPS.values())
    assert found.method == method and _worst_s(dict(found.begin_s)) < slowest_s
    assert all(error >= slowest_s / 2 for error in found.error_s.values())


@pytest.mark.parametrize("scene", [_noise, _unrelated])
def test_what_is_not_distinct_is_refused_in_plain_words(scene, tmp_path: Path) -> None:
    recording = read_recording(write_videos(tmp_path / "videos", scene))
    with pytest.raises(UserError, match="`cam_0` has none") as error:
        synchronise(recording, METHODS)
    assert "motion:" in str(error.value) and "the light does not change" in str(error.value)
    assert "Clap, or switch the light" in str(error.value)


def _shift(first: np.ndarray, second: np.ndarray) -> Shift:
    return whitened_shift(evened(first, SOUND_HZ), evened(second, SOUND_HZ), SOUND_HZ, (100.0, 3600.0), apart_s=0.05)


def test_other_sounds_are_not_taken_for_one() -> None:
    settings, one = DistinctSettings(), heard(room_sound(1), 0, 0.0)
    other = _shift(one, heard(room_sound(2), 1, 0.0))
    assert other.height < settings.sound_height or other.distinctness < settings.sound_ratio
    same = _shift(one, heard(room_sound(1), 1, 0.25))
    assert same.seconds == pytest.approx(0.25, abs=1e-4)
    assert same.height > 2 * settings.sound_height and same.distinctness > 2 * settings.sound_ratio


@pytest.mark.parametrize("delay", [0, 7, 120])
def test_the_correlation_coefficient_is_that_of_numpy(delay: int) -> None:
    signal = np.random.default_rng(3).normal(0, 1, 600)
    first, second = signal[:400], signal[delay : delay + 400] + 0.3
    shift = normalised_shift(first, second, 100.0, overlap=0.3, apart_s=0.05)
    assert shift.seconds == pytest.approx(delay / 100, abs=2e-3)
    overlap = 400 - delay
    expected = np.corrcoef(first[delay:], second[:overlap])[0, 1] * np.sqrt(overlap / 400)
    assert shift.height == pytest.approx(expected, abs=1e-6)


def test_import_writes_the_begins_into_the_times(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    videos = write_videos(tmp_path / "videos", _flashing)
    assert main(["import", str(videos), str(tmp_path / "session"), "--sync", "flash", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed["sync"]["method"] == "flash" and printed["times"].endswith("by their flashes")
    session = read_session(tmp_path / "session", calibrated=False)
    for name in BEGUN_S:
        first_ms = session.frame_times_ns(name)[0] / 1e6
        assert first_ms == pytest.approx(printed["sync"]["begin_ms"][name], abs=1e-3)
        assert first_ms == pytest.approx(BEGUN_S[name] * 1e3, abs=1e3 / min(FPS.values()))
    assert main(["import", str(videos), str(tmp_path / "all"), "--sync", "none", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["sync"] is None
    assert read_session(tmp_path / "all", calibrated=False).frame_times_ns("cam_1")[0] == 0
    assert main(["import", str(videos), str(tmp_path / "other"), "--sync", "sound"]) == 2
    assert "`cam_0` has none" in capsys.readouterr().err and not (tmp_path / "other").exists()
