"""A viser server behind a gate. viser itself asks nobody who he is."""

import contextlib
import io
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import viser
import websockets.asyncio.server

from app.run.view_choice import free_port
from app.transport.sockets import host_in_url
from app.web.gate import Gate
from calibration.errors import UserError

_START_S = 30.0


class LocalServer(viser.ViserServer):
    """viser's server, which never asks a host on the internet to share it."""

    def request_share_url(self, verbose: bool = True) -> str | None:
        return None


def open_server(host: str, port: int | None, token: str | None, label: str) -> LocalServer:
    """Serve at `host` and `port`, or at the first free port from 8080 on.

    Raises UserError where that cannot be listened on, or where the gate does not hold: then nothing is served.
    """
    port = free_port(host, port)
    # viser prints a banner to standard output, where the run's summary is to be.
    with _gated(Gate(host, token)) as installed, contextlib.redirect_stdout(io.StringIO()):
        server = LocalServer(host=host, port=port, label=label, verbose=False)
    if not installed.is_set() or server.get_port() != port or not _refuses_strangers(host, port):
        server.stop()
        raise UserError(
            "the view in the browser is not served: this viser cannot be guarded. Install the one that this program "
            'knows: pip install "usthand-live[web]"'
        )
    return server


@contextlib.contextmanager
def _gated(gate: Gate) -> Iterator[threading.Event]:
    """Within, a server of `websockets` asks the gate before it answers; the event says that one was made so."""
    serve, installed = websockets.asyncio.server.serve, threading.Event()

    def guarded(*args, process_request, **more):
        installed.set()
        return serve(*args, process_request=gate.guard(process_request), **more)

    websockets.asyncio.server.serve = guarded  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield installed
    finally:
        websockets.asyncio.server.serve = serve


def _refuses_strangers(host: str, port: int) -> bool:
    """Whether a request under another host's name, without a token, is turned away."""
    at = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    url = f"http://{host_in_url(at)}:{port}/"
    request = urllib.request.Request(url, headers={"Host": "elsewhere.invalid"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(request, timeout=_START_S).close()
    except urllib.error.HTTPError as error:
        return error.code == 403
    except OSError:
        return False
    return False
