"""Log files: one for each kind of process, in one folder, rotated by size, without passwords.

Needs no package beside Python itself. A log that cannot be written stops nothing.
"""

import fcntl
import logging
import os
import re
from contextlib import suppress
from pathlib import Path

_MOST_BYTES, _KEPT = 1_000_000, 3
_QUIET = ("matplotlib", "PIL", "h5py", "numba", "asyncio")
_CREDENTIALS = re.compile(r"(?<=://)[^\s/@]*:[^\s]*@|(?<=://)[^\s/@]+@")
_SECRET = re.compile(  # but not of what is said of a file: `/etc/passwd: cannot be read`
    r"((?<!/(?=\w+:\s))(?<!(?<!\w)\.(?=\w+:\s))"
    r"(?:passw(?:or)?d|passphrase|pwd?|psw|pass?|token|secret|api_?key|auth(?:orization)?|credentials?)"
    r"(?:\s*[=:]\s*(?:(?:Basic|Bearer)\s+)?|(['\"])\s*:\s*\2?))[^\s&,;}'\"]+",
    re.IGNORECASE,
)

SHOWN_WHOLE = {"shown_whole": True}
"""Of a message to the person at the terminal who needs the secret in it; in log files it is hidden all the same."""


def log_folder() -> Path:
    """`$XDG_STATE_HOME/usthand/logs`, by default `~/.local/state/usthand/logs`."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")  # noqa: PTH111
    return Path(state) / "usthand" / "logs"


def log_level() -> str:
    """`USTHAND_LOG`, which `--verbose` sets for all processes of a run."""
    return os.environ.get("USTHAND_LOG", "INFO")


def without_passwords(text: str) -> str:
    return _SECRET.sub(r"\1***", _CREDENTIALS.sub("***@", text))


class WithoutPasswords(logging.Formatter):
    """Of the terminal, whose text is often kept as well. A record with `extra=SHOWN_WHOLE` is shown as it is there."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if getattr(record, "shown_whole", False) else without_passwords(text)


class LogLine(WithoutPasswords):
    """Of one process among others: what a peer sends can neither look like another line nor steer the terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        lines = super().formatMessage(record).splitlines()
        return "\n    ".join("".join(c if c.isprintable() else ascii(c)[1:-1] for c in line) for line in lines)


def add_log_file(name: str) -> None:
    """Have this process's log written into `NAME.log`, too."""
    handler = LogFile(log_folder() / f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', name).strip('-.')}.log")
    handler.setFormatter(LogLine("%(asctime)s [%(process)d] %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    for other in [each for each in root.handlers if isinstance(each, LogFile)]:
        root.removeHandler(other)
    root.addHandler(handler)
    for library in _QUIET:  # they tell every detail of their own
        logging.getLogger(library).setLevel(logging.INFO)


class LogFile(logging.Handler):
    """A file that several processes may write to: it is opened for each record, whole lines are appended, and one
    process at a time renames it, to `NAME.log.1`, where it has grown to `most_bytes`."""

    def __init__(self, path: Path, most_bytes: int = _MOST_BYTES) -> None:
        super().__init__()
        self.path, self._most_bytes = path, most_bytes

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(Exception):  # a full disk, no home, a folder of another user
            line = without_passwords(self.format(record)).encode(errors="backslashreplace") + b"\n"
            file = self._open()
            try:
                if os.fstat(file).st_size + len(line) > self._most_bytes:
                    self._rotate(file)
                    os.close(file)
                    file = self._open()
                os.write(file, line)
            finally:
                os.close(file)

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            return os.open(self.path, flags, 0o600)
        except FileNotFoundError:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            return os.open(self.path, flags, 0o600)

    def _rotate(self, file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            quicker = not os.path.samestat(os.fstat(file), self.path.stat())
        except FileNotFoundError:
            quicker = True
        if quicker:  # another process was, and the new file may be there or not yet
            return
        for number in range(_KEPT - 1, 0, -1):
            older = self.path.with_name(f"{self.path.name}.{number}")
            if older.exists():
                older.replace(self.path.with_name(f"{self.path.name}.{number + 1}"))
        self.path.replace(self.path.with_name(f"{self.path.name}.1"))
