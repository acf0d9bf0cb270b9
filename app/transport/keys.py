"""CURVE keys: who may send frames over the network (RFC 26, https://rfc.zeromq.org/spec/26/).

A key folder holds `worker.key`, `worker.key_secret`, `grabber.key`, `grabber.key_secret`. The machine that grabs needs
`worker.key` and `grabber.key_secret`; the worker's needs `worker.key_secret` and `grabber.key`.
"""

from pathlib import Path

import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator

from calibration.errors import UserError, pasted
from calibration.written_together import written_together


class Keys:
    """The keys in one folder, applied to sockets. A worker lets in only the holder of `grabber.key_secret`."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise UserError(
                f"{self.folder}: no such folder of keys. Make it with `usthand keys {pasted(self.folder)}` on the "
                "worker's machine, and copy `worker.key` and `grabber.key_secret` of it to the one that grabs."
            )

    def _load(self, name: str) -> tuple[bytes, bytes | None]:
        path = self.folder / name
        try:
            if not path.is_file():
                raise ValueError
            return zmq.auth.load_certificate(path)
        except (OSError, ValueError):
            # No colon after the name: what follows `secret:` is hidden as a password.
            raise UserError(
                f"{self.folder}: no such key as `{name}`, or not a key. Copy it from the folder that `usthand keys` "
                "made on the worker's machine."
            ) from None

    def serve(self, socket: zmq.Socket) -> None:
        """Make a socket that will bind accept only peers with the grabber's key."""
        public, secret = self._load("worker.key_secret")
        allowed, _ = self._load("grabber.key")
        _authenticator().configure_curve_callback(domain="usthand", credentials_provider=_Allow(allowed))
        socket.curve_publickey, socket.curve_secretkey = public, secret
        socket.curve_server = True
        socket.zap_domain = b"usthand"

    def join(self, socket: zmq.Socket) -> None:
        """Give a socket that will connect the grabber's key, and the worker's public key to check."""
        socket.curve_publickey, socket.curve_secretkey = self._load("grabber.key_secret")
        socket.curve_serverkey, _ = self._load("worker.key")


class _Allow:
    def __init__(self, public_key: bytes) -> None:
        self._public_key = public_key

    def callback(self, domain: str, key: bytes) -> bool:
        return key == self._public_key


_running: list[ThreadAuthenticator] = []


def _authenticator() -> ThreadAuthenticator:
    """One authenticator a process, as ZeroMQ has one ZAP endpoint a context."""
    if not _running:
        authenticator = ThreadAuthenticator(zmq.Context.instance())
        authenticator.start()
        _running.append(authenticator)
    return _running[0]


def close_authenticator() -> None:
    while _running:
        _running.pop().stop()


def make_keys(folder: Path) -> None:
    """Write new keys; never overwrites. The secret ones are readable by their owner only. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("worker", "grabber"):
        if (folder / f"{name}.key_secret").exists():
            raise UserError(f"{folder}: keys are there already. Give another folder, or remove these first.")
    with written_together(folder) as place:
        for name in ("worker", "grabber"):
            _, secret = zmq.auth.create_certificates(place, name)
            Path(secret).chmod(0o600)
