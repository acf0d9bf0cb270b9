"""The wheel in an empty environment, with each extra alone: what it says that it needs is all that it needs.

The environment has the packages that the wheel's metadata asks for, and what these ask for, and no others. They are
links to those that are installed here, so that nothing is downloaded.
"""

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from app.doctor.packages import canonical
from tests.conftest import ROOT
from tests.support.live_run import last_json
from tests.support.pose_files import write_pose_file

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
RUNTIMES = ("cpu", "gpu", "tensorrt-rtx", "train")
"""Extras with what may run the networks of a live run."""
DEMO = ("demo", "--no-viewer", "--json", "--seconds", "2")


class Missing(Exception):
    """A package that is asked for and is not installed here."""


def closure(requirements: list[Requirement], environment: dict[str, str]) -> dict[str, importlib.metadata.Distribution]:
    """Of the packages that are asked for, with all that they ask for, by name."""
    found: dict[str, importlib.metadata.Distribution] = {}
    done: set[tuple[str, str]] = set()
    waiting = [(each, "") for each in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({**environment, "extra": extra}):
            continue
        name = canonical(requirement.name)
        for wanted in ("", *requirement.extras):
            if (name, wanted) in done:
                continue
            done.add((name, wanted))
            try:
                found[name] = importlib.metadata.distribution(name)
            except importlib.metadata.PackageNotFoundError:
                raise Missing(name) from None
            waiting += [(Requirement(text), wanted) for text in found[name].requires or ()]
    return found


def top_level(distribution: importlib.metadata.Distribution) -> Iterator[Path]:
    """What of it lies in site-packages."""
    base = Path(str(distribution.locate_file("")))
    names = {file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__")}
    yield from (base / name for name in names if (base / name).exists())


def empty_environment(folder: Path, wheel: Path, extra: str | None) -> Path:
    """Makes one with the wheel and what it asks for; returns its `bin`. Raises Missing."""
    metadata = importlib.metadata.Distribution.at(unpacked(folder, wheel)).requires or []
    wanted = [Requirement(text) for text in metadata]
    asked = [each for each in wanted if not each.marker or each.marker.evaluate({"extra": extra or ""})]
    for each in asked:
        each.marker = None
    packages = closure(asked, {})
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    for distribution in packages.values():
        for path in top_level(distribution):
            place = site / path.name
            if not place.exists():
                place.symlink_to(path)
    install = [sys.executable, "-m", "pip", "--python", folder / "venv" / "bin" / "python", "install", "--quiet"]
    done = run([*install, "--no-deps", "--no-index", "--disable-pip-version-check", wheel], folder)
    assert done.returncode == 0, done.stderr
    return folder / "venv" / "bin"


def unpacked(folder: Path, wheel: Path) -> Path:
    """The wheel's metadata."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if re.match(r"[^/]+\.dist-info/METADATA$", name)]
        archive.extract(names[0], folder)
    return (folder / names[0]).parent


def run(command: list[str | Path], folder: Path) -> subprocess.CompletedProcess:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.slow
def test_the_wheel_alone_runs_the_demo(tmp_path: Path, wheel: Path) -> None:
    place = empty_environment(tmp_path, wheel, None)
    done = run([place / "usthand", *DEMO], tmp_path)
    assert done.returncode == 0, done.stderr
    assert last_json(done.stdout)["sets_with_hand"] > 0
    assert str(place.parent) in run([place / "python", "-c", "import app; print(app.__file__)"], tmp_path).stdout
    # What it has not, it names, with what to add.
    write_pose_file(tmp_path / "poses.npz")
    for arguments, adds in (
        (["convert", "poses.npz", "hands.c3d"], "usthand-live[c3d]"),
        (["train", "run.yaml"], "the project's extra `train`"),
        (["export", "shipped", "engines"], "`train` and `export`"),
        (["demo", "--no-viewer", "--stream", "osc://127.0.0.1:9000"], "usthand-live[osc]"),
        (["demo", "--view", "web"], "usthand-live[web]"),
    ):
        lacks = run([place / "usthand", *arguments], tmp_path)
        assert lacks.returncode == 2 and "Traceback" not in lacks.stderr, lacks.stderr
        assert adds in lacks.stderr


@pytest.mark.slow
@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_with_each_extra_alone_all_that_it_needs_is_there(extra: str, tmp_path: Path, wheel: Path) -> None:
    try:
        place = empty_environment(tmp_path, wheel, extra)
    except Missing as missing:
        pytest.skip(f"{missing} of the extra {extra} is not installed here")
    if extra in RUNTIMES:
        done = run([place / "usthand", *DEMO], tmp_path)
        assert done.returncode == 0 and last_json(done.stdout)["sets_with_hand"] > 0, done.stderr
    for text in EXTRAS[extra]:
        modules = modules_of(Requirement(text).name)
        imported = run([place / "python", "-c", f"import {modules}"], tmp_path)
        assert imported.returncode == 0, imported.stderr


def modules_of(name: str) -> str:
    """What a package is imported as."""
    known = importlib.metadata.packages_distributions()
    own = [module for module, owners in known.items() if name in owners and re.fullmatch(r"[A-Za-z]\w*", module)]
    return ", ".join(own) or "sys"
