"""Damaged files: thirty copies of each kind here, thousands with `make fuzz`."""

import io
import itertools
import os
import random
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from app.convert.reading import read_recording
from app.run.pose_rows import finish_poses
from app.sources.video_frames import VideoFrames
from calibration.errors import UserError
from calibration.plain_json import parse_json
from calibration.plain_yaml import parse_yaml
from calibration.session import FRAME_COLUMNS, read_frames_csv
from calibration.yamlfile import write_yaml
from models.files.npyfile import read_npy
from models.files.npzfile import read_npz
from tests.fuzz.files import FILES
from tests.fuzz.fuzz import read_damaged
from tests.fuzz.large_files import FRAMES, MAKERS, THREADED, video
from tests.support.pose_files import pose_arrays, write_pose_file

LARGE = {"checkpoint", "OpenPose", "video", "video of a session", *THREADED}
"""Whose copies take a while."""
ALONE = {
    "recording",
    "training",
    "packed crops",
    "rig of aniposelib",
    *(kind for kind in FILES if kind.startswith("rig in ")),
}
"""Whole files that lack something beside them: videos, data, a second camera, a unit."""


@pytest.mark.parametrize("kind", sorted(set(FILES) - ALONE))
def test_a_whole_file_is_read(kind: str, tmp_path: Path) -> None:
    FILES[kind].read(FILES[kind].make(tmp_path))


@pytest.mark.parametrize("kind", sorted(FILES))
def test_a_damaged_file_is_read_or_refused(kind: str) -> None:
    assert not read_damaged(kind, range(3 if kind in LARGE else 30))


def test_a_reader_that_never_comes_back_to_python_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = FILES["board"]._replace(read=lambda path: sum(itertools.repeat(0)))
    monkeypatch.setitem(FILES, "board", endless)
    assert [each.what for each in read_damaged("board", [7], most_s=0.1)] == [
        f"the process ended with {-signal.SIGVTALRM}"
    ]


def test_a_journal_with_a_number_of_more_than_64_bits_is_refused(tmp_path: Path) -> None:
    path = FILES["journal"].make(tmp_path)
    path.write_text(re.sub(r'"ids":\[\d+', f'"ids":[{10**30}', path.read_text(), count=1))
    with pytest.raises(UserError, match="line 2: not a line of a wizard's journal"):
        FILES["journal"].read(path)


def test_a_video_whose_header_claims_four_billion_frames_ends(tmp_path: Path) -> None:
    whole = video(tmp_path / "a.mp4").read_bytes()
    at = whole.index(b"stts") + 4
    (tmp_path / "b.mp4").write_bytes(whole[: at + 8] + b"\xff\xff\xff\xf0" + whole[at + 12 :])
    capture = cv2.VideoCapture(str(tmp_path / "b.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) > 4e9
    frames = VideoFrames(tmp_path / "b.mp4", FRAMES)
    assert [frames.grab() for _ in range(FRAMES)] == list(range(FRAMES))
    assert frames.grab() is None


def test_rows_of_an_interrupted_run_that_are_spoilt_are_refused(tmp_path: Path) -> None:
    about = MAKERS["what rows are"][0](tmp_path)
    about.write_text('{"cameras": []')
    with pytest.raises(UserError, match="not what a run left"):
        finish_poses(tmp_path / "poses.npz")


def test_an_array_that_is_not_in_its_file_is_not_made(tmp_path: Path) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<i8", "fortran_order": False, "shape": (10**12,)})
    for mapped in (False, True):
        with pytest.raises(ValueError, match="more than is in the file"):
            read_npy(tmp_path / "a.npy", mapped)
    for array in (np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3)), np.empty((0, 4))):
        np.save(tmp_path / "b.npy", array)
        for mapped in (False, True):
            assert np.array_equal(read_npy(tmp_path / "b.npy", mapped), array)


def test_poses_with_a_gap_of_years_take_no_memory(tmp_path: Path) -> None:
    arrays = pose_arrays()
    arrays["time"][-1] += 10**17
    with pytest.raises(UserError, match="pass in it"):
        read_recording(write_pose_file(tmp_path / "poses.npz", arrays))


PAIRS = list(zip("abcdefgh", "bcdefghi", strict=True))
GROWING = {
    "aliases": "a: &a [x]\n" + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in PAIRS),
    "merge keys": "a: &a {x: 1}\n" + "".join(f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 9)}]}}\n" for a, b in PAIRS),
    "itself": "a: &a [*a]\n",
    "deep": "[" * 1000,
    "deep blocks": "- " * 1000,
    "long": "x" * 400_000,
}


@pytest.mark.parametrize("what", GROWING)
def test_yaml_that_would_grow_is_refused(what: str) -> None:
    with pytest.raises(yaml.YAMLError):
        parse_yaml(GROWING[what])


def test_yaml_is_read_as_pyyaml_reads_it() -> None:
    generator = random.Random(0)
    kinds = (
        lambda: generator.randrange(-99, 99),
        lambda: generator.gauss(0, 1e3),
        lambda: generator.random() * 1e-9,
        lambda: generator.choice(["a", "é", "1:30", "0x1", "~", "yes", "1_0", "2026-01-01", " x", "-", "#"]),
        lambda: generator.choice([None, True, float("inf")]),
    )
    for _ in range(100):
        value = {str(n): [generator.choice(kinds)() for _ in range(4)] for n in range(4)}
        text = yaml.safe_dump(value)
        assert parse_yaml(text) == yaml.safe_load(text)


def test_texts_that_look_like_numbers_come_back(tmp_path: Path) -> None:
    texts = ["1e5", "010", "0o7", "1:30", ".5", "+1", "2026-01-01", "1_000", ".inf"]
    write_yaml(tmp_path / "a.yaml", {"texts": texts})
    written = (tmp_path / "a.yaml").read_text()
    assert parse_yaml(written) == yaml.safe_load(written) == {"texts": texts}


def test_numbers_of_yaml_1_2() -> None:
    text = "[1e-3, 1E+2, -.5, 010, 0x1F, 0o17, +3, 1:30, 1_0]"
    assert parse_yaml(text) == [1e-3, 100.0, -0.5, 10, 31, 15, 3, "1:30", "1_0"]


def test_deep_json_is_refused() -> None:
    with pytest.raises(ValueError, match="deep"):
        parse_json("[" * 100_000)


@pytest.mark.parametrize("text", [r'{"a": "\ud800"}', b'{"a": "\\uDC00"}', b'{"a": "\xed\xa0\x80"}'])
def test_half_a_character_in_json_is_refused_and_whole_ones_are_read(text: str | bytes) -> None:
    with pytest.raises(ValueError, match="codec can't"):
        parse_json(text)
    assert parse_json(r'{"a": "\ud83d\ude00 \u00e4"}') == {"a": "\U0001f600 \u00e4"}


@pytest.mark.parametrize(
    ("text", "says"),
    [("a: !!bool abc", "its tag"), ("a: !!timestamp abc", "its tag"), ('b: 1\na: "\\ud800"', "line 2: .*halves")],
)
def test_values_that_are_none_of_their_kind_are_refused(text: str, says: str) -> None:
    with pytest.raises(yaml.YAMLError, match=says):
        parse_yaml(text)


def test_an_array_that_is_not_stored_is_not_made(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<i8", "fortran_order": False, "shape": (10**9,)})
    with zipfile.ZipFile(tmp_path / "labels.npz", "w") as archive:
        archive.writestr("camera.npy", stream.getvalue() + bytes(64))
    with pytest.raises(UserError, match="more than what is stored"):
        read_npz(tmp_path / "labels.npz", "labels", "Write it again.")


def test_a_time_beyond_64_bits_is_named(tmp_path: Path) -> None:
    path = tmp_path / "frames.csv"
    path.write_text(",".join(FRAME_COLUMNS) + "\ncam_0,0,5\ncam_0,1,99999999999999999999\n")
    with pytest.raises(UserError, match="line 3"):
        read_frames_csv(path)


def test_a_path_that_is_not_utf_8_is_refused_in_words(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/\xff"
    Path(os.fsdecode(folder)).mkdir()
    done = subprocess.run([sys.executable, "-m", "app", "replay", folder], capture_output=True, timeout=280)
    assert done.returncode == 2
    assert b"UTF-8" in done.stderr and b"Traceback" not in done.stderr
