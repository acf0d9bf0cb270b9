"""The folder of an adaptation: whole steps are kept, half ones are not, and in the end nothing of it is left."""

import json
from pathlib import Path

import pytest

from app.adaptation.work import WorkFolder, check_output
from calibration.errors import UserError


def test_a_step_is_made_once_and_an_interrupted_one_again(tmp_path: Path) -> None:
    work = WorkFolder(tmp_path / "mine", {"of": 1})
    assert not work.goes_on

    def half(folder: Path) -> None:
        (folder / "half").write_text("")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work.step("one", half)
    again = WorkFolder(tmp_path / "mine", {"of": 1})
    assert again.goes_on
    folder = again.step("one", lambda folder: (folder / "whole").write_text("1"))
    assert [path.name for path in folder.iterdir()] == ["whole"]
    assert again.step("one", half) == folder
    assert again.figures("figures", lambda: {"a": 1}) == again.figures("figures", lambda: {"a": 2}) == {"a": 1}


def test_what_was_made_of_something_else_is_begun_anew(tmp_path: Path) -> None:
    WorkFolder(tmp_path / "mine", {"of": 1}).step("one", lambda folder: (folder / "old").write_text(""))
    other = WorkFolder(tmp_path / "mine", {"of": 2})
    assert not other.goes_on
    assert not list(other.step("one", lambda folder: None).iterdir())


def test_the_result_becomes_the_output_and_nothing_else_is_left(tmp_path: Path) -> None:
    work = WorkFolder(tmp_path / "mine", {"of": 1})
    work.finish(work.step("result", lambda folder: (folder / "manifest.json").write_text("{}")), {"refused": None})
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert json.loads((tmp_path / "mine" / "adapt.json").read_text()) == {"refused": None}
    with pytest.raises(UserError, match="is there already"):
        check_output(tmp_path / "mine")
    with pytest.raises(UserError, match="there is no folder"):
        check_output(tmp_path / "nowhere" / "mine")
