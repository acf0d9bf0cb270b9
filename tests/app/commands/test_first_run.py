"""What a new user meets first: `usthand` alone, completion, `-v`."""

import logging
import os
import subprocess
from pathlib import Path

import pytest

from app.cli import build_parser, main
from app.commands import live
from app.run.supervisor import Outcome
from app.worker.run_summary import RunSummary
from calibration.rig import read_rig
from models.network.checkpoint import load_checkpoint
from tests.conftest import ROOT
from tests.support.live_run import simulated_rig, usthand


def test_usthand_alone_says_in_five_lines_what_to_do_next(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    said = capsys.readouterr().out
    assert len(said.splitlines()) == 5
    for line in ("you have cameras: ", "you have videos: ", "you have neither: "):
        assert line in said
    assert "usthand demo" in said and "usthand doctor" in said and "--help" in said


@pytest.mark.parametrize(
    ("typed", "meant", "told_by"),
    [
        (["liv"], "`live`", "usthand:"),
        (["rig", "shwo"], "`show`", "usthand rig:"),
        (["replay", "session", "--no_viewer"], "`--no-viewer`", "usthand replay:"),
        (["rig", "show", "rig.yaml", "--jsn"], "`--json`", "usthand rig show:"),
        (["replay", "session", "--estimator=ust_hand"], "`ust-hand`", "usthand replay:"),
    ],
)
def test_what_is_mistyped_is_named_by_the_command_that_it_is_of(
    typed: list[str], meant: str, told_by: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(typed)
    said = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2
    assert said[-1].startswith(f"{told_by} error: ") and f"Did you mean {meant}?" in said[-1]
    assert said[0].startswith(f"usage: {told_by.rstrip(':')} ")


def test_hands_are_not_looked_for_in_drawings_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A simulated camera draws skeletons, in which no network sees hands."""
    path = simulated_rig(tmp_path / "rig.yaml", cameras=2)

    def run_rig(*_: object, **__: object) -> Outcome:
        return Outcome(0, RunSummary(read_rig(path)).result({}))

    monkeypatch.setattr(live, "run_rig", run_rig)
    for estimator, told in (("mediapipe", 1), ("simulated", 0)):
        assert main(["live", str(path), "--no-viewer", "--estimator", estimator]) == 0
        assert capsys.readouterr().out.count("only `--estimator simulated` sees hands") == told


def test_what_it_says_of_videos_works(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    (line,) = [each for each in capsys.readouterr().out.splitlines() if "you have videos: " in each]
    commands = [each.split()[1:] for each in line.partition(": ")[2].split(", ")]
    told, calibrated, replayed = (build_parser().parse_args(each) for each in commands)
    assert calibrated.board is not None and calibrated.session == told.session == replayed.session
    # Where `replay` looks for it.
    assert calibrated.output == told.session / "rig.yaml"


def test_the_packaged_network_takes_the_crops_that_are_made_in_the_examples(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("evaluate", "simulate-crops"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
    told = [capsys.readouterr().out, *((ROOT / name).read_text() for name in ("README.md", "docs/labels.md"))]
    crops = [
        each.partition("#")[0].split()[1:]
        for text in told
        for each in text.splitlines()
        if "simulate-crops data/test" in each
    ]
    assert len(crops) == 4
    network, _ = load_checkpoint("shipped")
    assert all(build_parser().parse_args(each).upright == network.config.landmarks for each in crops)


def test_bash_completes_commands_flags_and_choices(tmp_path: Path) -> None:
    script = usthand("completion", "bash").stdout
    assert len(script) < 100_000
    (tmp_path / "usthand").write_text(script)
    (tmp_path / "rig.yaml").touch()
    complete = (
        'source ./usthand; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; '
        '_shtab_usthand usthand "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"; printf "%s\\n" "${COMPREPLY[@]}"'
    )

    def completed(*words: str) -> list[str]:
        command = ["bash", "-c", complete, "bash", "usthand", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
        return done.stdout.split()

    assert completed("doc") == ["doctor"]
    assert completed("live", "--estim") == ["--estimator"]
    assert {"mediapipe", "ust-hand"} <= set(completed("live", "--estimator", ""))
    assert completed("live", "ri") == ["rig.yaml"]


@pytest.mark.parametrize("shell", ["zsh", "fish", "tcsh"])
def test_other_shells_have_a_script_with_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(command in script for command in ("doctor", "calibrate", "simulate-crops", "no-viewer"))


@pytest.mark.parametrize("given", [["-v", "cache"], ["cache", "-v"], ["cache", "--verbose"]])
def test_verbose_stands_before_or_after_the_command_and_reaches_other_processes(
    given: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("USTHAND_LOG", "INFO")
    assert main(given) == 0
    assert os.environ["USTHAND_LOG"] == "DEBUG"


def test_each_command_has_one_log_file_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(["cache"]) == 0
    logging.getLogger("test").error("once")
    assert main(["cache"]) == 0
    logging.getLogger("test").error("twice")
    lines = (tmp_path / "state/usthand/logs/usthand-cache.log").read_text().splitlines()
    assert [line.split(" ERROR ")[1] for line in lines] == ["test: once", "test: twice"]


def test_of_a_damaged_video_there_is_one_line(tmp_path: Path) -> None:
    """OpenCV and FFmpeg wrote theirs beside it."""
    (tmp_path / "videos").mkdir()
    for name in ("cam_0.mp4", "cam_1.mp4"):
        (tmp_path / "videos" / name).write_bytes(bytes(range(256)) * 12)
    done = usthand("import", tmp_path / "videos", tmp_path / "session")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "cam_0.mp4: cannot be read as a video" in line


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["bench", "load", "--width", "32"], "--width: invalid choice: 32 (choose from 160 to 4096)"),
        (
            ["grab", "cam_0", "--connect", "tcp://127.0.0.1:5600", "--quality", "500"],
            "--quality: invalid choice: 500 (choose from 1 to 100)",
        ),
        (["bench", "simulate", "--images", "-1"], "--images: invalid choice: -1 (choose from 0 to 10000)"),
        (["bench", "hand", "--frames", "0"], "--frames: invalid choice: 0 (choose from 1 to 100000)"),
        (["live", "rig.yaml", "--hands", "9"], "--hands: invalid choice: 9 (choose from 1 to 8)"),
    ],
)
def test_of_a_number_that_is_out_of_its_range_the_ends_are_said(
    typed: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(typed)
    assert ended.value.code == 2 and capsys.readouterr().err.rstrip().endswith(says)
