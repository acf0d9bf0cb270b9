"""`usthand convert`, and `--poses OUT` by ending: what a person sees, and what is refused."""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from app.cli import main
from app.commands.poses_flag import convert_poses, pose_file_of
from app.convert.formats import FORMATS
from app.run.supervisor import Outcome
from calibration.errors import UserError
from tests.conftest import ROOT
from tests.support.live_run import last_json, simulated_rig, usthand
from tests.support.pose_files import pose_arrays, write_pose_file


@pytest.fixture(scope="module")
def poses(tmp_path_factory):
    return write_pose_file(tmp_path_factory.mktemp("poses") / "poses.npz", pose_arrays(20))


def test_it_says_what_it_wrote(poses, tmp_path, capsys):
    out = tmp_path / "hands.bvh"
    assert main(["convert", str(poses), str(out), "--fill", "100", "--smooth", "--json"]) == 0
    said = capsys.readouterr().out
    assert "20 frames at 50 Hz" in said
    assert "left_4: there in 20 of these, gaps between: 0, interpolated: 3 (gaps up to 100 ms)" in said
    assert "smoothed over time" in said
    summary = json.loads(said.splitlines()[-1])
    assert summary["out"] == str(out)
    assert [hand["filled"] for hand in summary["hands"]] == [0, 3]
    assert summary["validity"] == f"{out}.valid.csv"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hands.bvh", "hands.bvh.valid.csv"]


def test_what_a_format_cannot_say_stands_beside_its_file_and_nothing_that_is_not_so(poses, tmp_path):
    whole = write_pose_file(tmp_path / "whole.npz", pose_arrays(4))
    for ending, flags in ((".bvh", ()), (".trc", ("--fill", "100")), (".mot", ("--fill", "100"))):
        out, beside = tmp_path / f"hands{ending}", tmp_path / f"hands{ending}.valid.csv"
        assert main(["convert", str(poses), str(out), *flags]) == 0
        held = "0" if ending == ".bvh" else "2"
        assert [row.split(",")[2] for row in beside.read_text().split()[1:]] == [*"111111", *3 * held, *11 * "1"]
        assert main(["convert", str(whole), str(out)]) == 0
        assert not beside.exists()


def test_where_the_table_beside_a_file_cannot_be_nothing_is_written(poses, tmp_path, capsys):
    (tmp_path / "hands.bvh.valid.csv").mkdir()
    assert main(["convert", str(poses), str(tmp_path / "hands.bvh")]) == 2
    assert "is a folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["hands.bvh.valid.csv"]


def test_by_default_nothing_is_filled_or_smoothed(poses, tmp_path, capsys):
    assert main(["convert", str(poses), str(tmp_path / "hands.npz"), "--json"]) == 0
    assert "interpolated" not in (said := capsys.readouterr().out)
    assert json.loads(said.splitlines()[-1])["smoothed"] is False
    with np.load(tmp_path / "hands.npz") as arrays, np.load(poses) as given:
        assert len(arrays["time"]) == len(given["time"])
        for side in ("left", "right"):
            got, expected = (each["joints"][each["hand"] == side] for each in (arrays, given))
            np.testing.assert_array_equal(got, expected)


def test_an_unknown_ending_lists_the_known_ones(poses, tmp_path, capsys):
    assert main(["convert", str(poses), str(tmp_path / "hands.fbx")]) == 2
    said = capsys.readouterr().err
    assert all(ending in said for ending in FORMATS)
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("given", "out", "said"),
    [
        (None, "missing/hands.csv", "there is no folder"),
        (None, ".", "must end in one of"),
        (b"PK\3\4 half a file", "hands.csv", "cannot be read as poses"),
        ("none", "hands.csv", "no such file"),
    ],
)
def test_what_cannot_be_converted_is_refused(poses, tmp_path, capsys, given, out, said):
    source = poses if given is None else tmp_path / "given.npz"
    if isinstance(given, bytes):
        source.write_bytes(given)
    assert main(["convert", str(source), str(tmp_path / out)]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


def test_what_is_typed_wrong_is_told_with_what_is_expected(poses, capsys):
    wrong = {("--fill", "abc"): "abc is not a number above zero: milliseconds, for example --fill 100"}
    for flags, said in {**wrong, ("--fill", "-1"): "milliseconds"}.items():
        with pytest.raises(SystemExit, match="2"):
            main(["convert", str(poses), "hands.csv", *flags])
        assert said in capsys.readouterr().err
    for names in ((str(poses), ""), ("", "hands.csv")):
        with pytest.raises(SystemExit, match="2"):
            main(["convert", *names])
        assert "the name of the file is empty" in capsys.readouterr().err


def test_a_folder_of_that_name_is_refused(poses, tmp_path, capsys):
    (tmp_path / "hands.csv").mkdir()
    assert main(["convert", str(poses), str(tmp_path / "hands.csv")]) == 2
    assert "is a folder" in capsys.readouterr().err
    assert main(["convert", str(tmp_path), str(tmp_path / "other.csv")]) == 2
    assert "is a folder. Give the file of poses in it" in capsys.readouterr().err


def test_the_file_that_is_read_is_not_written_over(poses, tmp_path, capsys):
    given, link = shutil.copy(poses, tmp_path / "given.npz"), tmp_path / "link.npz"
    link.symlink_to(given)
    for out in (given, link):
        assert main(["convert", str(given), str(out), "--smooth"]) == 2
        assert "is the file of poses itself" in capsys.readouterr().err
    assert given.read_bytes() == poses.read_bytes()


@pytest.mark.parametrize("ending", [".parquet", ".c3d", ".usda", ".nwb"])
def test_a_missing_library_is_named_with_the_line_that_installs_it(ending, monkeypatch):
    for library in ("pyarrow", "pyarrow.parquet", "ezc3d", "pxr", "pynwb", "ndx_pose"):
        monkeypatch.setitem(sys.modules, library, None)
    for module in ("c3d", "usd", "nwb"):
        monkeypatch.delitem(sys.modules, f"app.convert.{module}", raising=False)
    extra = FORMATS[ending].extra
    with pytest.raises(UserError, match=rf"needs the package `\w+`. .* pip install .usthand-live\[{extra}\]."):
        FORMATS[ending].writer()


def test_a_library_that_cannot_be_loaded_is_told_in_one_line(monkeypatch, tmp_path):
    (tmp_path / "ezc3d.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("ezc3d", "app.convert.c3d"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(UserError, match=r"cannot be loaded \(libGL.so.1.*pip install"):
        FORMATS[".c3d"].writer()


def test_poses_that_do_not_say_how_sure_they_are_cannot_be_smoothed(poses, tmp_path, capsys):
    with np.load(poses) as arrays:
        unsure = write_pose_file(tmp_path / "unsure.npz", dict(arrays), covariance=0 * arrays["covariance"])
    assert main(["convert", str(unsure), str(tmp_path / "hands.csv"), "--smooth"]) == 2
    assert "cannot be smoothed" in capsys.readouterr().err
    assert main(["convert", str(unsure), str(tmp_path / "hands.csv")]) == 0


def test_a_link_is_written_through(poses, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    link, place = tmp_path / "hands.jsonl", tmp_path / "elsewhere" / "lines.txt"
    link.symlink_to(place)
    assert main(["convert", str(poses), str(link)]) == 0
    assert link.is_symlink() and place.read_text().startswith('{"type": "header"')
    assert [path.name for path in place.parent.iterdir()] == ["lines.txt"]


def test_what_is_no_place_for_a_file_is_refused(poses, tmp_path, capsys):
    loop, pipe, long = tmp_path / "loop.csv", tmp_path / "pipe.csv", tmp_path / f"{'n' * 260}.csv"
    loop.symlink_to(loop)
    os.mkfifo(pipe)
    almost = tmp_path / f"{'n' * 250}.csv"  # there is room for it, and not for the one that it is at first
    named = {loop: "leads back to itself", pipe: "a pipe", long: "name too long", almost: "name too long"}
    for out, said in {**named, Path("/proc/hands.csv"): "cannot be written"}.items():
        assert main(["convert", str(poses), str(out)]) == 2
        error = capsys.readouterr().err
        assert said in error and "disk" not in error and "Traceback" not in error
    assert pipe.is_fifo() and loop.is_symlink()
    assert main(["convert", str(loop), str(tmp_path / "hands.csv")]) == 2
    for out in (loop, pipe):
        with pytest.raises(UserError):
            pose_file_of(argparse.Namespace(poses=out))


@pytest.mark.parametrize("ending", FORMATS)
def test_an_ending_in_capitals_is_the_same(poses, tmp_path, ending):
    try:
        FORMATS[ending].writer()
    except UserError as missing:
        pytest.skip(str(missing))
    out = tmp_path / f"HANDS{ending.upper()}"
    assert main(["convert", str(poses), str(out)]) == 0
    assert out.stat().st_size > 1000


def test_a_full_disk_leaves_the_old_file_and_no_other(poses, tmp_path):
    out = tmp_path / "hands.csv"
    out.write_text("old")

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    done = subprocess.run(
        [sys.executable, "-m", "app", "convert", str(poses), str(out)],
        cwd=ROOT,
        preexec_fn=small_files,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1, done.stderr
    assert "could not be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert out.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["hands.csv"]


def outcome_of(out, pose_file):
    """What `replay` and `live` do with `--poses OUT`, once their run has written its pose file."""
    args = argparse.Namespace(poses=out)
    kept = pose_file_of(args)
    assert kept is not None
    shutil.copy(pose_file, kept)
    return convert_poses(args, Outcome(0, {"poses": kept}))


def test_poses_of_a_run_become_what_the_ending_says(poses, tmp_path, capsys):
    for name in ("hands.trc", "hands.npz"):
        assert outcome_of(tmp_path / name, poses).summary["poses"] == str(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hands.npz", "hands.trc"]
    assert (tmp_path / "hands.npz").read_bytes() == poses.read_bytes()
    assert "hands.trc: 20 frames" in capsys.readouterr().out


def test_poses_of_a_run_stay_where_they_cannot_be_converted(poses, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("app.convert.c3d._MOST_FRAMES", 5)
    outcome = outcome_of(tmp_path / "hands.c3d", poses)
    kept = tmp_path / ".hands.c3d.npz"
    assert (outcome.exit_code, outcome.summary) == (1, {"poses": str(kept)})
    assert f"The poses are kept in {kept}" in caplog.text
    assert kept.read_bytes() == poses.read_bytes()
    assert main(["convert", str(kept), str(tmp_path / "hands.csv")]) == 0


def test_a_run_without_hands_is_told_of_and_leaves_what_was_there(tmp_path, caplog):
    nobody = {name: values[:0] if values.ndim else values for name, values in pose_arrays(3).items()}
    (tmp_path / "hands.csv").write_text("of the run before")
    outcome = outcome_of(tmp_path / "hands.csv", write_pose_file(tmp_path / "nobody.npz", nobody))
    assert (outcome.exit_code, outcome.summary) == (1, {"poses": None})
    assert "hands.csv was not written, for the run saw no hand" in caplog.text
    assert "nothing to convert" not in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hands.csv", "nobody.npz"]
    assert (tmp_path / "hands.csv").read_text() == "of the run before"
    npz = argparse.Namespace(poses=tmp_path / "hands.npz")
    assert convert_poses(npz, Outcome(0, {"sets_with_hand": 0})).exit_code == 0
    assert "hands.npz has no hand in it" in caplog.text


@pytest.mark.slow
def test_live_writes_poses_in_the_format_of_the_ending(tmp_path):
    simulated_rig(tmp_path / "rig.yaml", 3)
    out = tmp_path / "hands.jsonl"
    live = ("live", tmp_path / "rig.yaml", "--estimator", "simulated", "--no-viewer", "--no-mesh", "--seconds", "2")
    done = usthand(*live, "--poses", out, "--json")
    assert done.returncode == 0, done.stderr
    assert last_json(done.stdout)["poses"] == str(out)
    header, *frames = map(json.loads, out.read_text().splitlines())
    assert header["definition"] == "anatomical"
    assert any(frame["hands"] for frame in frames)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hands.jsonl", "rig.yaml"]


@pytest.mark.parametrize("command", ["live", "replay"])
def test_poses_with_an_unknown_ending_or_without_a_folder_are_refused_before_the_run(command, tmp_path, capsys):
    given = simulated_rig(tmp_path / "rig.yaml", 3) if command == "live" else tmp_path
    for out, said in ((tmp_path / "hands.fbx", "must end in one of"), (tmp_path / "no" / "hands.csv", "no folder")):
        arguments = ["--estimator", "simulated", "--no-viewer", "--poses", str(out)]
        assert main([command, str(given), *arguments]) == 2
        assert said in capsys.readouterr().err
