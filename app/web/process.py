"""The process of the view in the browser.

Listens to: PoseSet, End. Reads the frames that a PoseSet names from shared memory.
Emits: nothing but the page, to browsers that may see it.
"""

import logging
import os
import secrets
import socket
import sys
import time

import msgspec

from app.run.logs import SHOWN_WHOLE
from app.run.process import process_parser, run_process, stop
from app.run.pulse import pulse
from app.run.settings import RunFolder, RunSettings
from app.run.view_choice import ViewChoice
from app.transport.sockets import host_in_url
from app.viewer.live_feed import LiveFeed
from app.viewer.state import Shown
from app.web.scene import WebScene
from app.web.server import open_server
from calibration.rig import Rig
from calibration.written_files import write_atomic

log = logging.getLogger(__name__)

_HZ = 30.0
_BACKLOG = 8


class Served(msgspec.Struct):
    """Where the page is, kept in the run's private folder: a view that is started again is where it was."""

    port: int | None
    token: str | None


def main() -> int:
    """Serve a run's page: started by the supervisor."""
    parser = process_parser()
    parser.add_argument("--title", default="UST-Hand live")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int)
    args = parser.parse_args()
    logging.getLogger("websockets").setLevel(logging.WARNING)
    # Standard output is for the run's summary, and viser prints.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def work(folder: RunFolder, rig: Rig, settings: RunSettings) -> int:
        choice = ViewChoice(kind="web", host=args.host, port=args.port)
        served = _served(folder, choice)
        server = open_server(choice.host, served.port, served.token, args.title)
        feed = LiveFeed(folder, _BACKLOG)
        try:
            served.port = server.get_port()
            write_atomic(folder.view, msgspec.json.encode(served))
            log.info("the view is at %s", page_url(choice.host, served), extra=SHOWN_WHOLE)
            _show(folder, WebScene(server, rig, args.title, feed), feed)
        finally:
            feed.close()
            server.stop()
        return 0

    return run_process("web", args, work)


def _served(folder: RunFolder, choice: ViewChoice) -> Served:
    if folder.view.exists():
        return msgspec.json.decode(folder.view.read_bytes(), type=Served)
    return Served(choice.port, secrets.token_urlsafe(24) if choice.needs_token else None)


def page_url(host: str, served: Served) -> str:
    """What to open in a browser."""
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    where = f"http://{host_in_url(host)}:{served.port}/"
    return where if served.token is None else f"{where}?token={served.token}"


def _show(folder: RunFolder, scene: WebScene, feed: LiveFeed) -> None:
    shown = Shown()
    begun = False
    while not stop.is_set() and shown.ended is None:
        now_ns = time.monotonic_ns()
        for message in feed.poll():
            shown.take(message, now_ns)
        scene.update(shown, now_ns)
        if not begun and shown.newest is not None:
            begun = True
            folder.begun("viewer").touch()
        pulse.beat()
        stop.wait(1 / _HZ)


if __name__ == "__main__":
    sys.exit(main())
