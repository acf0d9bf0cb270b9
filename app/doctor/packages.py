"""Python, and the packages against the versions that are tested together."""

import importlib.metadata
import importlib.util
import re
import shlex
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

from app.doctor.finding import Finding, Findings, run_python

_NAME = "usthand-live"
_CHECKOUT = Path(__file__).resolve().parents[2]
_OLDEST, _BEYOND = (3, 11), (3, 14)
_OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
# The same code built without CUDA.
_STANDS_FOR = {"open3d": "open3d-cpu"}
# What is imported of a package, where it has another name.
_MODULES = {"opencv-contrib-python": "cv2", "pyyaml": "yaml", "pyzmq": "zmq"}
# It says after each what has come so far, for one may end the process.
_IMPORT = """
import importlib, json, sys
told = {}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
        told[name] = ""
    except BaseException as error:
        told[name] = f"{type(error).__name__}: {error}"
    print(json.dumps(told), flush=True)
"""


def check_python() -> Findings:
    version = sys.version.split()[0]
    if _OLDEST <= sys.version_info[:2] < _BEYOND:
        yield Finding("python", "ok", f"{version}, {sys.executable}")
    else:
        yield Finding("python", "problem", f"{version}; 3.11, 3.12 or 3.13 is needed", "make venv PYTHON=python3.11")


def check_packages() -> Findings:
    """Versions, of what `pip install` asks for and, in a checkout, of all that `constraints.txt` pins."""
    wanted = pins()
    if not wanted:
        yield Finding(
            "packages", "problem", f"{_NAME} is not installed, so its versions are not known", f"pip install {_NAME}"
        )
        return
    found = installed()
    base = [name for name, extra in wanted.items() if extra[1] is None]
    missing = [name for name in base if name not in found]
    versions = {name: version for name, (version, _) in wanted.items()}
    other = {name: found[name] for name in versions if name in found and not _same(found[name], versions[name])}
    if missing:
        remedy = _install({name: wanted[name][0] for name in missing})
        yield Finding("packages", "problem", f"not installed: {', '.join(missing)}", remedy)
    for name, version in other.items():
        level = "problem" if name in base else "warning"
        text = f"{name} is {version}; tested with {wanted[name][0]}"
        yield Finding("packages", level, text, _install({name: wanted[name][0]}))
    constrained = {name: version for name, version in constraints().items() if name not in wanted and name in found}
    differ = {name: version for name, version in constrained.items() if not _same(found[name], version)}
    if differ:
        told = ", ".join(f"{name} {found[name]} instead of {version}" for name, version in sorted(differ.items()))
        yield Finding("packages", "warning", f"other versions than those of constraints.txt: {told}", _install(differ))
    if not missing and not other:
        count = sum(name in found for name in wanted)
        yield Finding("packages", "ok", f"{count} of {_NAME} {_version(found)} have the versions that are tested")
    extras = missing_extras(wanted, found)
    if extras:
        yield Finding("packages", "ok", f"extras that are not installed: {', '.join(extras)}")
    yield from _check_opencv(found)


def check_imports() -> Findings:
    """Each package that `pip install` brings is imported once."""
    found = installed()
    names = [name for name, (_, extra) in pins().items() if extra is None and name in found]
    modules = {_MODULES.get(name, name.replace("-", "_")): name for name in names}
    said, error = run_python(_IMPORT, *modules)
    broken = {module: text for module, text in (said or {}).items() if text}
    for module in modules:
        if said is None or module not in said:
            broken[module] = f"it ends the process that imports it ({error or 'a crash'})"
            break  # the others were not reached
    for module, text in broken.items():
        yield Finding(
            "packages", "problem", f"{modules[module]} cannot be imported: {text}", _mend(text, modules[module])
        )
    if not broken:
        yield Finding("packages", "ok", f"all {len(modules)} can be imported")


def _mend(text: str, name: str) -> str:
    library = re.search(r"(lib[\w+.-]+\.so[.\d]*)", text)
    if library is not None and library[1] in LIBRARIES:
        return f"sudo apt-get install {LIBRARIES[library[1]]}"
    version = pins().get(name, ("", None))[0]
    return f"{_python()} -m pip install --force-reinstall --no-deps '{name}=={version}'"


LIBRARIES = {
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libX11.so.6": "libx11-6",
    "libgomp.so.1": "libgomp1",
    "libusb-1.0.so.0": "libusb-1.0-0",
    "libglib-2.0.so.0": "libglib2.0-0",
}
"""Libraries of the system that packages load, and the Debian package of each; deploy/setup.sh installs these."""


def _check_opencv(found: Mapping[str, str]) -> Findings:
    several = [name for name in _OPENCV if name in found]
    if len(several) < 2:
        return
    ours = pins().get("opencv-contrib-python", ("", None))[0]
    others = " ".join(several)
    yield Finding(
        "packages",
        "problem",
        f"{' and '.join(several)} are both installed: each puts its own files into the one folder cv2",
        f"{_python()} -m pip uninstall -y {others} && {_install({'opencv-contrib-python': ours})}",
    )


def pins() -> dict[str, tuple[str, str | None]]:
    """The version and the extra (None: always) of what this program asks for: from pyproject.toml, where this is a
    checkout, else from the installed package's metadata."""
    found: dict[str, tuple[str, str | None]] = {}
    for text, extra in _requirements():
        match = re.match(r"([\w.-]+)(?:\[[^]]*\])?==([^\s;]+)", text)
        if match and canonical(match[1]) not in found:
            found[canonical(match[1])] = (match[2], extra)
    return found


def _requirements() -> list[tuple[str, str | None]]:
    """Those without an extra first."""
    project = _CHECKOUT / "pyproject.toml"
    if project.is_file():
        about = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        extras = about["optional-dependencies"].items()
        base: list[tuple[str, str | None]] = [(text, None) for text in about["dependencies"]]
        return base + [(text, name) for name, each in extras for text in each]
    try:
        required = importlib.metadata.requires(_NAME) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    split = [(text, re.search(r"extra\s*==\s*['\"]([^'\"]+)", text)) for text in required]
    return sorted(((text, extra and extra[1]) for text, extra in split), key=lambda each: each[1] is not None)


def constraints() -> dict[str, str]:
    """Those of constraints.txt, which is in a checkout only."""
    path = _CHECKOUT / "constraints.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    pairs = [line.split("==") for line in lines if "==" in line and not line.startswith("#")]
    return {canonical(name.strip()): version.split(";")[0].strip() for name, version in pairs}


def installed() -> dict[str, str]:
    """Versions by name. Of two of one name the first is what Python imports."""
    found: dict[str, str] = {}
    for each in importlib.metadata.distributions():
        name = each.metadata["Name"]
        if name and canonical(name) not in found:
            found[canonical(name)] = each.version
    for name, other in _STANDS_FOR.items():
        if other in found:
            found.setdefault(name, found[other])
    return found


def missing_extras(wanted: Mapping[str, tuple[str, str | None]], found: Mapping[str, str]) -> list[str]:
    return sorted({extra for name, (_, extra) in wanted.items() if extra and name not in found})


def _same(found: str, wanted: str) -> bool:
    """2.13.0+cpu is a build of 2.13.0."""
    return found == wanted or found.partition("+")[0] == wanted


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _version(found: Mapping[str, str]) -> str:
    return found.get(_NAME, "(not installed)")


def _install(versions: Mapping[str, str]) -> str:
    named = " ".join(f"'{name}=={version}'" for name, version in versions.items())
    return f"{_python()} -m pip install {named}"


def _python() -> str:
    """This one, to paste into a shell."""
    return shlex.quote(sys.executable)
