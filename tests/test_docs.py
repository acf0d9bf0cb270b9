"""What documents and sources name is there: files, folders and modules of this project, and the pages that link to."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

FOLDERS = ("app", "calibration", "deploy", "models", "tests", "examples", "docs")
PACKAGES = FOLDERS[:4]
PATH = re.compile(rf"(?<![\w/.-])(?:\.\./)?((?:{'|'.join(FOLDERS)})/(?:[\w./-]*(?:\w\.\w+|/))?)")
FILE = re.compile(r"(?<![\w/.*-])([a-z]\w*\.py)\b")
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)[^)]*\)")
MODULE = re.compile(rf"(?<![\w/.-])((?:{'|'.join(PACKAGES)})(?:\.(?!md|toml|py)[a-z]\w*)+)")


def find_missing(root: Path) -> list[str]:
    """One line for each thing that a document, or a source's words, name and that is not there."""
    names = {path.name for folder in FOLDERS for path in (root / folder).rglob("*.py")}
    found = []
    for file, text in _texts(root):
        missing = [name for name in PATH.findall(text) if not (root / name).exists()]
        missing += [name for name in FILE.findall(text) if name not in names]
        missing += [name for name in MODULE.findall(text) if not _reaches(root, name)]
        if file.suffix == ".md":
            missing += [link for link in LINK.findall(text) if not (file.parent / link).exists()]
        found += [f"{file.relative_to(root).as_posix()} names {name}" for name in missing]
    return found


def _texts(root: Path) -> Iterator[tuple[Path, str]]:
    for file in (root / "README.md", *sorted((root / "docs").glob("*.md"))):
        yield file, file.read_text(encoding="utf-8")
    for folder in (*PACKAGES, "examples"):
        for file in sorted((root / folder).rglob("*.py")):
            yield file, _words(file.read_text(encoding="utf-8"))


def _words(source: str) -> str:
    """Docstrings and comments."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    said = [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(source)) if isinstance(node, documented)]
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return "\n".join(said + [token.string for token in tokens if token.type == tokenize.COMMENT])


def _reaches(root: Path, name: str) -> bool:
    """Whether a dotted name is a module, or something that a module speaks of."""
    module, parts = root, name.split(".")
    while parts and (module / parts[0]).is_dir():
        module /= parts.pop(0)
    if parts and (module / f"{parts[0]}.py").is_file():
        module = module / f"{parts.pop(0)}.py"
    file = module / "__init__.py" if module.is_dir() else module
    return not parts or (file.is_file() and re.search(rf"\b{parts[0]}\b", file.read_text(encoding="utf-8")) is not None)


def test_what_documents_and_sources_name_is_there() -> None:
    assert find_missing(ROOT) == []


def test_every_name_in_the_architecture_is_one_of_the_sources() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    sources = [path.read_text(encoding="utf-8") for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    words = set(re.findall(r"\w+", "\n".join(sources)))
    assert set(re.findall(r"`([A-Za-z]\w*)`", text)) - words == set()


def test_the_architecture_says_what_every_folder_holds() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    folders = {
        path.parent.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py")
    }
    assert [folder for folder in sorted(folders) if f"`{folder}/`" not in text] == []


@pytest.mark.parametrize(
    "said",
    ["see app/gone.py", "`deploy/old/`", "[how](gone.md)", "`gone.py` does it", "models.gone has it", "app.cli.gone"],
)
def test_what_is_not_there_is_found(said: str, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "cli.py").write_text('"""As app/cli.py, app.cli.main and `cli.py` say."""\n\ndef main(): ...\n')
    (tmp_path / "README.md").write_text("See [the page](docs/page.md) and app/cli.py.\n")
    page = tmp_path / "docs" / "page.md"
    page.write_text("[Back](../README.md), `app/`.\n")
    assert find_missing(tmp_path) == []
    page.write_text(f"{said}\n")
    assert len(find_missing(tmp_path)) == 1
