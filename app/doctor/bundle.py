"""A zip file for whoever is to help: rig, logs, versions and what `usthand doctor` found, with nothing private in it.

Private is what names a person, a machine or a network, and what opens one: passwords and keys, user and host names,
home folders, addresses, serial numbers of cameras.
"""

import getpass
import importlib.metadata
import json
import os
import platform
import re
import socket
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from app.doctor.examination import as_text
from app.doctor.finding import Finding, Machine
from app.run.logs import without_passwords
from calibration.written_files import errors_naming

_MOST_LOG_BYTES, _MOST_LOGS = 1_000_000, 40
_URL_HOST = re.compile(r"(?<=://)(\*\*\*@)?(\[[0-9a-fA-F:.]+\]|[^\s/:@'\"\],}*]+)")
_URL_USER = re.compile(r"([?&](?:user(?:_?name)?|usr|login)=)[^&\s'\"}]+", re.IGNORECASE)
_LOCAL_HOSTS = ("127.0.0.1", "0.0.0.0", "localhost", "[::1]", "*")
_IPV4 = re.compile(r"(?<![\w.])(?!127\.|0\.0\.0\.0)(?:\d{1,3}\.){3}\d{1,3}(?![\w.])")
_MAC = re.compile(r"\b(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}\b")
# A CURVE key is 40 letters of Z85 (ZeroMQ RFC 32), in quotes or by itself.
_KEY = re.compile(r"(?<![^\s\"'=])[0-9A-Za-z.:+=^!/*?&<>()\[\]{}@%$#-]{40}(?![^\s\"',;])")
_SERIAL = re.compile(r"(\bserial\b['\"]?\s*[:=]?\s*)['\"]?[\w-]+['\"]?", re.IGNORECASE)
_BY_ID = re.compile(r"(/dev/v4l/by-id/)[^\s'\"},]+?(-video-index\d+)")


@dataclass(frozen=True)
class Private:
    """What is taken out by name."""

    user: str
    host: str
    home: str

    @classmethod
    def here(cls) -> "Private":
        try:
            user = getpass.getuser()
        except (OSError, KeyError):  # a container's user without a name
            user = ""
        return cls(user, socket.gethostname(), os.path.expanduser("~"))  # noqa: PTH111 - which never raises

    def remove_from(self, text: str) -> str:
        text = without_passwords(text)
        if len(self.home) > 1:
            text = text.replace(self.home, "~")
        text = re.sub(r"/(home|Users)/[^/\s'\":]+", "~", text)
        text = _KEY.sub(_hide_key, text)
        text = _URL_USER.sub(r"\1USER", _URL_HOST.sub(_hide_host, text))
        text = _MAC.sub("MAC", _IPV4.sub("ADDRESS", text))
        text = _BY_ID.sub(r"\1CAMERA\2", _SERIAL.sub(r"\1SERIAL", text))
        names = ((self.host, "HOST"), (self.host.partition(".")[0], "HOST"), (self.user, "USER"))
        for name, instead in names:
            # `root` and `video` are words of the system, and name nobody.
            if len(name) > 1 and name not in ("root", "localhost", "usthand"):
                text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", instead, text)
        return text


def _hide_host(match: re.Match) -> str:
    return match[0] if match[2] in _LOCAL_HOSTS else f"{match[1] or ''}HOST"


def _hide_key(match: re.Match) -> str:
    """Hashes and words of that length have no such mixture."""
    mixed = all(re.search(kind, match[0]) for kind in ("[a-z]", "[A-Z]", "[0-9]"))
    return "KEY" if mixed else match[0]


def write_bundle(
    path: Path, findings: Sequence[Finding], rig: Path | None, logs: Path, machine: Machine, private: bool
) -> list[str]:
    """The names of what is in it. With `private` it is as it is. Raises OSError."""
    owner = Private.here()
    clean = (lambda text: text) if private else owner.remove_from
    texts = {
        "doctor.txt": "\n".join(as_text(finding) for finding in findings) + "\n",
        "doctor.json": json.dumps([asdict(finding) for finding in findings], indent=1) + "\n",
        "versions.txt": _versions(),
        "machine.txt": _machine(machine),
    }
    if rig is not None:
        file = rig / "rig.yaml" if rig.is_dir() else rig
        texts["rig.yaml"] = _end_of(file)
    for log in sorted(logs.glob("*.log*"), key=_age, reverse=True)[:_MOST_LOGS]:
        texts[f"logs/{log.name}"] = _end_of(log)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with errors_naming(path):
            with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, text in texts.items():
                    archive.writestr(clean(name), clean(text))
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return [clean(name) for name in texts]


def _age(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0


def _end_of(path: Path) -> str:
    """The last part of a file; why not, where it cannot be read."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            size = os.fstat(file).st_size
            return os.pread(file, _MOST_LOG_BYTES, max(0, size - _MOST_LOG_BYTES)).decode(errors="replace")
        finally:
            os.close(file)
    except OSError as error:
        return f"{path}: {error.strerror}\n"


def _versions() -> str:
    packages = sorted({f"{each.metadata['Name']}=={each.version}" for each in importlib.metadata.distributions()})
    return "\n".join([f"Python {sys.version}", *packages]) + "\n"


def _machine(machine: Machine) -> str:
    model = next(
        (line for line in machine.read("proc/cpuinfo").splitlines() if line.startswith("model name")), "model name: ?"
    )
    system = machine.read("etc/os-release").partition("\n")[0]
    memory = machine.read("proc/meminfo").partition("\n")[0]
    kernel = f"{platform.system()} {platform.release()} {platform.machine()}"
    return "\n".join([kernel, system, model, f"{os.cpu_count()} processors", memory]) + "\n"
