"""UDP datagrams to one receiver, who may be there or not: what does not fit into the socket now is dropped."""

import logging
import socket

from app.streams.kinds import StreamAddress
from calibration.errors import UserError

log = logging.getLogger(__name__)


class Datagrams:
    """By IPv4 where the host has it. Raises UserError where the address's host is not known."""

    def __init__(self, address: StreamAddress) -> None:
        try:
            found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_DGRAM)
        except OSError as error:
            raise UserError(f"{address}: the host is not known ({error.strerror}).") from None
        # `localhost` can be ::1 first, where most receivers do not listen, and no datagram says so.
        found.sort(key=lambda each: each[0] != socket.AF_INET)
        family, kind, protocol, _, self._place = found[0]
        self._socket = socket.socket(family, kind, protocol)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self._problem = ""

    def send(self, data: bytes) -> None:
        """Never waits. A problem that is not a full buffer is told once in the log until it is another."""
        try:
            self._socket.sendto(data, self._place)
        except BlockingIOError:
            return
        except OSError as error:
            if str(error) != self._problem:
                self._problem = str(error)
                log.warning("%d bytes could not be sent: %s", len(data), error.strerror)

    def close(self) -> None:
        self._socket.close()
