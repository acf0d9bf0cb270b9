"""What `--view` names: the window, a page in the browser, Rerun, or a file."""

import importlib.util
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from app.transport.sockets import host_in_url, is_host, is_loopback
from calibration.errors import UserError, pasted

ViewKind = Literal["window", "web", "rerun"]
_MODULES: dict[ViewKind, str] = {
    "window": "app.viewer.process",
    "web": "app.web.process",
    "rerun": "app.rerun_view.process",
}
_LIBRARIES: dict[ViewKind, tuple[str, str]] = {"web": ("viser", "web"), "rerun": ("rerun", "rerun")}
_FIRST_PORT, _PORTS = 8080, 100
CHOICES = "window, web, web://HOST:PORT, rerun or FILE.rrd"


@dataclass(frozen=True, kw_only=True)
class ViewChoice:
    """A kind of view. Of `web`: `host` and `port`, None where any free one will do. Of `rerun`: the file, if one."""

    kind: ViewKind = "window"
    host: str = "127.0.0.1"
    port: int | None = None
    file: Path | None = None

    @property
    def module(self) -> str:
        """The process that shows it."""
        return _MODULES[self.kind]

    @property
    def needs_token(self) -> bool:
        """Whether others than this host can reach it."""
        return not is_loopback(f"web://{host_in_url(self.host)}")

    def arguments(self) -> list[str]:
        """What its process is told."""
        told = []
        if self.kind == "web":
            told += ["--host", self.host]
        if self.port is not None:
            told += ["--port", str(self.port)]
        if self.file is not None:
            told += ["--file", str(self.file)]
        return told


def view_choice(text: str) -> ViewChoice:
    """The view that `--view` names.

    Raises UserError for one that is not known, an address that is none, and, with the line that installs it, where its
    library is missing.
    """
    choice = _choice(text)
    library, extra = _LIBRARIES.get(choice.kind, ("", ""))
    if library and importlib.util.find_spec(library) is None:
        raise UserError(
            f'`--view {text}` needs the package `{library}`. Install it: pip install "usthand-live[{extra}]"'
        )
    return choice


def _choice(text: str) -> ViewChoice:
    if text == "window":
        return ViewChoice()
    if text == "web":
        return ViewChoice(kind="web")
    if text.startswith("web://"):
        return _web(text)
    if text == "rerun":
        return ViewChoice(kind="rerun")
    if text.lower().endswith(".rrd") and len(text) > len(".rrd"):
        return ViewChoice(kind="rerun", file=Path(text).resolve())
    if text.lower().endswith(".mcap"):
        raise UserError(
            f"`--view {text}`: an MCAP file is made of a pose file, with `usthand convert poses.npz "
            f"{pasted(Path(text).name)}`."
        )
    raise UserError(f"`--view {text}` is no view. Give {CHOICES}.")


def _web(text: str) -> ViewChoice:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if not is_host(host) or port is None or parts.path not in ("", "/") or parts.query or parts.username:
        raise UserError(f"`--view {text}` is no address. Give web://HOST:PORT, for example web://0.0.0.0:8080.")
    return ViewChoice(kind="web", host=host, port=port)


def free_port(host: str, port: int | None) -> int:
    """The port, or the first free one. Raises UserError where it cannot be listened on."""
    for tried in [port] if port is not None else range(_FIRST_PORT, _FIRST_PORT + _PORTS):
        try:
            family = socket.getaddrinfo(host, tried, type=socket.SOCK_STREAM)[0][0]
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, tried))
                return probe.getsockname()[1]
        except OSError as error:
            reason = error.strerror
    place = f"web://{host_in_url(host)}:{port or _FIRST_PORT}"
    raise UserError(f"cannot listen on `{place}`: {reason}. Give another address or port.")
