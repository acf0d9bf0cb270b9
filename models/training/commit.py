"""The commit of the code that made a file."""

import subprocess
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


def code_commit() -> str:
    """The repository's commit, with `-dirty` where files differ from it; `unknown` outside of one."""
    command = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
