"""What is shipped: `python -m deploy.sbom DIR` writes `sbom.cdx.json`, and every licence into `DIR/licences/`.

Of the packages of the environment that runs it, with the libraries that they bring along (`deploy/bundled.py`),
Debian's packages where there are any, and the files of other projects that are part of this one. CycloneDX 1.6,
https://cyclonedx.org/docs/1.6/json/. One environment gives the same bytes.
"""

import argparse
import importlib.metadata
import json
import platform
import re
import sys
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import quote

from deploy.bundled import bundled_libraries

_NAME = "usthand-live"
_DPKG = Path("/var/lib/dpkg/status")
_COPYRIGHT = Path("/usr/share/doc")
_LICENCE_FILE = re.compile(r"(^|/)(licen[cs]es?/.+|[^/]*(licen[cs]e|copying|notice|copyright)[^/]*)$", re.IGNORECASE)
_LONGEST_NAME = 120
# Parts of this project that others made: name, where, licence.
_PARTS = (
    ("MediaPipe hand and pose models", "models/weights/mediapipe", "Apache-2.0"),
    ("Roboto", "app/viewer/roboto.npz", "Apache-2.0"),
)


def bill_of_materials(dpkg: Path = _DPKG) -> dict[str, Any]:
    """The SBOM as plain data."""
    distributions = _distributions()
    own = next((each for each in distributions if each.metadata["Name"] == _NAME), None)
    components = [_package(each) for each in distributions if each is not own]
    components += [_part(*part) for part in _PARTS]
    components.append(
        {"type": "application", "name": "Python", "version": platform.python_version(), **_licences("PSF-2.0")}
    )
    components += list(_debian(dpkg))
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": _NAME,
                "name": _NAME,
                "version": own.version if own else "0",
                **_licences("Apache-2.0"),
            }
        },
        "components": components,
    }


def installed_bytes() -> int:
    """Of the files of all packages, as their records say; compiled files, which Python makes, are not counted."""
    return sum(file.size or 0 for each in _distributions() for file in each.files or ())


def write_licences(folder: Path, documents: Path = _COPYRIGHT) -> int:
    """The licence files of each package, in a folder of its name; returns how many there are."""
    count = 0
    for each in _distributions():
        for file in each.files or ():
            if _LICENCE_FILE.search(str(file)) and file.suffix not in (".py", ".pyc", ".xml"):
                count += _copy(Path(str(file.locate())), folder / each.metadata["Name"] / str(file).replace("/", "_"))
    for file in sorted(documents.glob("*/copyright")):
        count += _copy(file, folder / "debian" / file.parent.name)
    return count


def _copy(file: Path, to: Path) -> int:
    try:
        content = file.read_bytes()
    except OSError:
        return 0
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_bytes(content)
    return 1


def _distributions() -> list[importlib.metadata.Distribution]:
    """Each once, by name."""
    found: dict[str, importlib.metadata.Distribution] = {}
    for each in importlib.metadata.distributions():
        found.setdefault(_canonical(each.metadata["Name"]), each)
    return [found[name] for name in sorted(found)]


def _package(each: importlib.metadata.Distribution) -> dict[str, Any]:
    name, about = _canonical(each.metadata["Name"]), each.metadata
    purl = f"pkg:pypi/{name}@{each.version}"
    size = sum(file.size or 0 for file in each.files or ())
    bundled = [
        {
            "type": "library",
            "bom-ref": f"{purl}#{library.name}",
            "name": library.name,
            "version": library.version,
            **_licences(library.licence),
        }
        for library in bundled_libraries(each)
    ]
    return {
        "type": "library",
        "bom-ref": purl,
        "name": about["Name"],
        "version": each.version,
        "purl": purl,
        **_licences(_licence_of(about)),
        "properties": [{"name": "usthand:installed-bytes", "value": str(size)}],
        **({"components": bundled} if bundled else {}),
    }


def _licence_of(about: Any) -> str:
    """An SPDX expression where the package gives one, else its words, else its classifiers."""
    fields: Message = about
    # Not by index: that raises KeyError once a package has brought `importlib_metadata` in its place.
    if expression := fields.get("License-Expression"):
        return expression
    words = (fields.get("License") or "").strip()
    if words and "\n" not in words and len(words) <= _LONGEST_NAME:
        return words
    classifiers = [text for text in fields.get_all("Classifier") or [] if text.startswith("License ::")]
    return ", ".join(text.rpartition(" :: ")[2] for text in classifiers) or "not told; see its files"


def _licences(text: str) -> dict[str, Any]:
    """As SPDX where it looks like it, else by name."""
    words = re.fullmatch(r"\(?[\w.+-]+\)?( (AND|OR|WITH) \(?[\w.+-]+\)?)*", text)
    is_spdx = words and re.search(r"\d|MIT|ISC|PSF", text)
    return {"licenses": [{"expression": text}] if is_spdx else [{"license": {"name": text}}]}


def _part(name: str, place: str, licence: str) -> dict[str, Any]:
    return {
        "type": "machine-learning-model" if "models" in name else "data",
        "name": name,
        **_licences(licence),
        "properties": [{"name": "usthand:place", "value": place}],
    }


def _debian(dpkg: Path) -> Iterator[dict[str, Any]]:
    """The packages of the system."""
    if not dpkg.is_file():
        return
    for paragraph in dpkg.read_text(errors="replace").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if re.match(r"[\w-]+: ", line))
        if fields.get("Status") == "install ok installed":
            name, version, machine = (fields[key] for key in ("Package", "Version", "Architecture"))
            purl = f"pkg:deb/debian/{name}@{quote(version, safe='')}?arch={machine}"
            size = 1024 * int(fields.get("Installed-Size", 0))
            yield {
                "type": "library",
                "bom-ref": purl,
                "name": name,
                "version": version,
                "purl": purl,
                **_licences(f"see licences/debian/{name}"),
                "properties": [{"name": "usthand:installed-bytes", "value": str(size)}],
            }


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> None:
    parser = argparse.ArgumentParser(description="write an SBOM and the licences of what is installed")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    bill = bill_of_materials()
    (folder / "sbom.cdx.json").write_text(json.dumps(bill, indent=1) + "\n")
    count = write_licences(folder / "licences")
    packages = installed_bytes() / 1e6
    told = f"{len(bill['components'])} components, {count} licence files; Python packages: {packages:.0f} MB\n"
    sys.stdout.write(f"{folder}: {told}")


if __name__ == "__main__":
    main()
