"""What an examination finds, and how it asks the machine."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Level = Literal["ok", "warning", "problem"]
_PROBE_S = 60.0


@dataclass(frozen=True)
class Finding:
    """One line: `topic` is what it is of, `remedy` the command that mends it, empty where nothing needs mending."""

    topic: str
    level: Level
    text: str
    remedy: str = ""


Findings = Iterator[Finding]


@dataclass(frozen=True)
class Machine:
    """Where the kernel's files are: below `root`, which tests put elsewhere."""

    root: Path = Path("/")

    def path(self, name: str) -> Path:
        return self.root / name.lstrip("/")

    def read(self, name: str) -> str:
        """The beginning of a file of the kernel, empty where there is none."""
        try:
            with self.path(name).open("rb") as file:
                return file.read(65536).decode(errors="replace").strip()
        except OSError:
            return ""

    def find(self, pattern: str) -> list[Path]:
        return sorted(self.root.glob(pattern.lstrip("/")))


def run_python(code: str, *arguments: str, timeout_s: float = _PROBE_S) -> tuple[Any, str]:
    """What a program in a process of its own prints, as JSON, and what went wrong, empty where nothing did.

    In a process of its own, since a broken library may end it.
    """
    return _json_of([sys.executable, "-c", code, *arguments], timeout_s)


def run_module(module: str, *arguments: str, timeout_s: float = _PROBE_S) -> tuple[Any, str]:
    return _json_of([sys.executable, "-m", module, *arguments], timeout_s)


def _json_of(command: Sequence[str], timeout_s: float) -> tuple[Any, str]:
    root = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), root)))
    environment = {**os.environ, "PYTHONPATH": paths}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=timeout_s, env=environment, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, str(error)
    lines = done.stdout.splitlines()
    try:
        return json.loads(lines[-1] if lines else ""), ""
    except ValueError:
        said = done.stderr.strip().splitlines() or [f"it ended with the code {done.returncode} and said nothing"]
        return None, said[-1][:300]


def run_tool(*command: str) -> str | None:
    """What a program of the system prints; None where there is none such, or it failed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
