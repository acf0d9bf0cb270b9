"""The SBOM: every installed package with its licence, the same bytes each time."""

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.sbom import bill_of_materials, write_licences
from tests.conftest import ROOT

STATUS = """\
Package: libgl1
Status: install ok installed
Installed-Size: 40
Architecture: amd64
Version: 1:1.6.0-1+deb12

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1.0
"""


def test_every_package_is_in_it_once_with_its_version_and_licence(tmp_path: Path) -> None:
    (tmp_path / "status").write_text(STATUS)
    bill = bill_of_materials(tmp_path / "status")
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["name"] == "usthand-live"
    components = {each["name"]: each for each in bill["components"]}
    assert len(components) == len(bill["components"])
    for each in importlib.metadata.distributions():
        if each.metadata["Name"] != "usthand-live":
            assert components[each.metadata["Name"]]["version"] == each.version
    assert components["numpy"]["purl"] == f"pkg:pypi/numpy@{importlib.metadata.version('numpy')}"
    assert components["libgl1"]["purl"] == "pkg:deb/debian/libgl1@1%3A1.6.0-1%2Bdeb12?arch=amd64"
    assert "gone" not in components and {"Roboto", "MediaPipe hand and pose models", "Python"} <= set(components)
    for each in components.values():
        (licence,) = each["licenses"]
        assert licence.get("expression") or licence["license"]["name"]
    parts = [each for each in components.values() if each["type"] in ("data", "machine-learning-model")]
    assert len(parts) == 2 and all((ROOT / part["properties"][0]["value"]).exists() for part in parts)


def test_libraries_that_packages_bring_along_are_in_it_with_their_licences() -> None:
    bundled = {
        (package["name"], library["name"]): library["licenses"][0]
        for package in bill_of_materials()["components"]
        for library in package.get("components", [])
    }
    assert bundled["av", "libx264"] == bundled["av", "libx265"] == {"expression": "GPL-2.0-or-later"}
    assert bundled["av", "libavcodec"] == {"expression": "LGPL-3.0-or-later"}
    assert ("pyzmq", "libzmq") in bundled
    assert [name for name, licence in bundled.items() if "not told" in str(licence)] == []


@pytest.mark.slow
def test_licence_files_are_gathered(tmp_path: Path) -> None:
    documents = tmp_path / "doc"
    (documents / "libgl1").mkdir(parents=True)
    (documents / "libgl1" / "copyright").write_text("MIT")
    count = write_licences(tmp_path / "licences", documents)
    files = [path for path in (tmp_path / "licences").rglob("*") if path.is_file()]
    assert len(files) == count and (tmp_path / "licences" / "debian" / "libgl1").read_text() == "MIT"
    numpy = (tmp_path / "licences" / "numpy").iterdir()
    assert any("Redistribution" in path.read_text(errors="replace") for path in numpy)


@pytest.mark.slow
def test_the_same_environment_gives_the_same_bytes(tmp_path: Path) -> None:
    program = "import json; from deploy.sbom import bill_of_materials; print(json.dumps(bill_of_materials()))"
    command, env = [sys.executable, "-c", program], {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == json.dumps(bill_of_materials())


def test_it_is_the_same_where_a_package_reads_metadata_its_own_way() -> None:
    """`importlib_metadata` takes the standard library's place as it is imported, and raises where that gives None."""
    pytest.importorskip("importlib_metadata")
    program = "import importlib_metadata; from deploy.sbom import bill_of_materials; bill_of_materials()"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
