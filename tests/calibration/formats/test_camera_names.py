"""Names of cameras: what one format writes, every reader reads, under the same names or not at all."""

import random
import tomllib
from pathlib import Path

import pytest
import tomli_w

from calibration.camera_names import is_camera_id, match_cameras
from calibration.errors import UserError
from calibration.formats import WRITTEN, read_any, write_any
from tests.calibration.formats.test_formats import NAMES, assert_same, make_rig

# What breaks files: separators, quotes, comments, other alphabets, a right-to-left mark, and blanks of all kinds.
_ALPHABET = "aZ09_-. /\\\0\n\r\t,;:#'\"{}[]|&*!%@`<>=~+$ä字é\u200f\u00a0\u2028\x85🖐"
_TRICKY = (
    "null",
    "~",
    "1e3",
    "0x1",
    "yes",
    "- a",
    "? b",
    "{}",
    "camera_1",
    "usthand",
    "metadata2",
    "cam_0",
    "&a",
    "*a",
)
ROUNDS = 40


def random_names(generator: random.Random) -> list[str]:
    lengths = [generator.choice([0, 1, 2, 5, 31, 32, 33]) for _ in range(4)]
    names = ["".join(generator.choice(_ALPHABET) for _ in range(length)) for length in lengths]
    return [generator.choice(_TRICKY) if generator.random() < 0.4 else name for name in names]


@pytest.mark.parametrize("name", NAMES)
def test_names_come_back_or_are_refused(name: str, tmp_path: Path) -> None:
    generator = random.Random(name)
    written = refused = 0
    for number in range(ROUNDS):
        path = tmp_path / str(number) / NAMES[name]
        path.parent.mkdir()
        ids = random_names(generator)
        # Half of the rounds with names that all files can hold, else hardly any would be written.
        if number % 2:
            ids = [camera_id if is_camera_id(camera_id) else f"c{index}" for index, camera_id in enumerate(ids)]
        rig = make_rig(["pinhole5 without k3"] * 4, ids, plain=True)
        try:
            write_any(path, rig)
        except UserError:
            refused += 1
            assert not path.exists()
            continue
        assert all(map(is_camera_id, ids)) and len(set(ids)) == 4
        assert_same(rig, read_any(path))
        written += 1
    assert written >= ROUNDS // 4
    assert refused


def test_every_written_format_is_tried() -> None:
    assert {name.split()[0] for name in NAMES} == set(WRITTEN)


def test_a_name_that_is_none_gives_way_to_the_tables(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "calibration.toml"
    write_any(path, make_rig(["pinhole5"] * 2, plain=True))
    content = tomllib.loads(path.read_text())
    content["cam_1"]["name"] = "a/b"
    path.write_text(tomli_w.dumps(content))
    assert read_any(path).camera_ids == ("cam_0", "cam_1")
    assert "`a/b` cannot name a file, so the camera is called `cam_1`" in caplog.text


def test_cameras_are_matched_by_name_then_table_then_number() -> None:
    named = [("Camera_002", "cam_0"), ("Camera_000", "cam_1"), ("left", "cam_2")]
    assert match_cameras(named, ["Camera_000", "left"]) == {"Camera_000": 1, "left": 2}
    assert match_cameras(named, ["cam_0", "cam_1"]) == {"cam_0": 0, "cam_1": 1}
    assert match_cameras([("cam0",), ("cam1",)], ["cam_1", "port_0"]) == {"cam_1": 1, "port_0": 0}
    assert match_cameras([("1",), ("2",)], ["cam_02", "cam_01"]) == {"cam_02": 1, "cam_01": 0}
    assert match_cameras([("a1",), ("b",)], ["left", "right"]) == {}
    # Both have the number 1.
    assert match_cameras([("cam1",), ("camera_1",)], ["cam_1", "cam_2"]) == {}


def test_a_long_name_of_freemocap(calibration_cases_dir: Path, tmp_path: Path) -> None:
    source = calibration_cases_dir / "07_unreadable_rig" / "fmc_test_camera_calibration.toml"
    rig = read_any(source)
    for name in NAMES:
        write_any(tmp_path / NAMES[name], rig)
        assert_same(rig, read_any(tmp_path / NAMES[name]))
    assert rig.camera_ids == ("cam_0", "cam_1", "cam_2")
    # FreeMoCap's millimetres: its cameras 1 and 2 are 2.7 m apart.
    assert 2 < float(abs(rig.cameras[1].centre_world_m - rig.cameras[0].centre_world_m).max()) < 3
