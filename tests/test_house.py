"""The house's rules for names and records, read from the source."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT

PACKAGES = ("calibration", "models", "deploy", "app")
FIELDS_BY_POSITION = 4


def _trees(root: Path) -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            yield path.relative_to(root).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def _names(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _fields(node: ast.ClassDef) -> int:
    return sum(isinstance(each, ast.AnnAssign) and "ClassVar" not in ast.unparse(each.annotation) for each in node.body)


def _says(keywords: list[ast.keyword], name: str) -> bool:
    return any(each.arg == name and getattr(each.value, "value", None) is True for each in keywords)


def find_shared_names(root: Path) -> list[str]:
    """One line for each public class name that several files define."""
    places: dict[str, list[str]] = defaultdict(list)
    for file, tree in _trees(root):
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(file)
    return [f"class {name}: {', '.join(files)}" for name, files in sorted(places.items()) if len(files) > 1]


def find_positional_records(root: Path) -> list[str]:
    """One line for each record of more than four fields that takes them by position, or is made so."""
    found, tuples = [], set()
    for file, tree in _trees(root):
        for node in ast.walk(tree):
            if not isinstance(node, ast.ClassDef) or _fields(node) <= FIELDS_BY_POSITION:
                continue
            if "NamedTuple" in map(_names, node.bases):
                tuples.add(node.name)
            decorated = [each for each in node.decorator_list if "dataclass" in ast.unparse(each)]
            keywords = node.keywords if "Struct" in map(_names, node.bases) else None
            if decorated:
                keywords = decorated[0].keywords if isinstance(decorated[0], ast.Call) else []
            if keywords is not None and not _says(keywords, "kw_only"):
                found.append(f"{file}: {node.name} has {_fields(node)} fields and is not kw_only")
    for file, tree in _trees(root):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _names(node.func) in tuples:
                given = [each for each in node.args if not isinstance(each, ast.Starred)]
                if len(given) > FIELDS_BY_POSITION:
                    found.append(f"{file}:{node.lineno}: {_names(node.func)} gets {len(given)} fields by position")
    return found


def test_each_public_class_name_has_one_owner() -> None:
    assert find_shared_names(ROOT) == []


def test_records_of_more_than_four_fields_are_made_by_keyword() -> None:
    assert find_positional_records(ROOT) == []


def test_planted_violations_are_found(tmp_path: Path) -> None:
    files = {
        "app/one.py": "class Same: ...\n@dataclass(frozen=True)\nclass Five:\n    a: int\n    b: int\n    c: int\n"
        "    d: int\n    e: int\n",
        "models/two.py": "class Same: ...\nclass Six(NamedTuple):\n    a: int\n    b: int\n    c: int\n    d: int\n"
        "    e: int\nSix(1, 2, 3, 4, 5)\nSix(*args)\n",
        "deploy/three.py": "class Said(msgspec.Struct, frozen=True):\n    a: int\n    b: int\n    c: int\n    d: int\n"
        "    e: int\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    assert find_shared_names(tmp_path) == ["class Same: models/two.py, app/one.py"]
    assert find_positional_records(tmp_path) == [
        "deploy/three.py: Said has 5 fields and is not kw_only",
        "app/one.py: Five has 5 fields and is not kw_only",
        "models/two.py:8: Six gets 5 fields by position",
    ]
