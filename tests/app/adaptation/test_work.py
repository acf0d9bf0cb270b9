"""The folder of an adaptation: whole steps are kept, half ones are not, and in the end nothing of it is left."""

import json
from pathlib import Path

import pytest

from app.adaptation.work import WorkFolder, check_output, own_work_folder
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


def test_two_adaptations_do_not_make_the_same_output(tmp_path: Path) -> None:
    """The second would remove what the first is making, as of other settings, or make the same step in its place."""
    with own_work_folder(tmp_path / "mine", {"of": 1}) as work:
        folder = work.step("one", lambda folder: (folder / "whole").write_text("1"))
        for of in ({"of": 1}, {"of": 2}):
            with pytest.raises(UserError, match="another adaptation is making it"), own_work_folder(work.out, of):
                pass
        assert (folder / "whole").read_text() == "1"
    with own_work_folder(tmp_path / "mine", {"of": 2}) as work:
        assert not work.goes_on and sorted(path.name for path in work.path.iterdir()) == ["plan.json"]


def test_the_result_becomes_the_output_and_nothing_else_is_left(tmp_path: Path) -> None:
    work = WorkFolder(tmp_path / "mine", {"of": 1})
    work.finish(work.step("result", lambda folder: (folder / "manifest.json").write_text("{}")), {"refused": None})
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert json.loads((tmp_path / "mine" / "adapt.json").read_text()) == {"refused": None}
    with pytest.raises(UserError, match="is there already"):
        check_output(tmp_path / "mine")
    with pytest.raises(UserError, match="there is no folder"):
        check_output(tmp_path / "nowhere" / "mine")
