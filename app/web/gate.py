"""Who may see the view in the browser: checked before any byte of it is served.

On this host's own addresses, whoever can reach them, but no web page of another site: the browser says by `Host` and
`Origin` where a request comes from, so neither such a page nor a name that was turned to point here gets through. On
any other address, who has the token: it comes once in the URL, then in a cookie that no script can read. Every answer
carries a policy by which the browser fetches nothing from elsewhere.
"""

import hmac
import http
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

_HERE = ("localhost", "127.0.0.1", "::1")
_REFUSED = b"This view needs the address with its token, as usthand printed it.\n"

Answer = Callable[[object, Request], Response | None]
"""What `websockets` asks before each handshake: a response, or None to go on with the WebSocket."""


class Gate:
    """Of a view that listens at `host`; `token` is None where it can be reached from this host only."""

    def __init__(self, host: str, token: str | None) -> None:
        self._host, self._token = host, token

    def guard(self, answer: Answer) -> Answer:
        """`answer` behind this gate."""

        def guarded(connection: object, request: Request) -> Response | None:
            refusal = self.check(request)
            if refusal is not None:
                return refusal
            response = answer(connection, request)
            if response is not None:
                _protect(response.headers, request.headers.get("Host", ""))
            return response

        return guarded

    def check(self, request: Request) -> Response | None:
        """None for who may pass; else what is answered: a refusal, or the cookie for who brought the token."""
        try:
            return self._answer(request)
        except ValueError:  # a host or an origin that is none, or bytes that are no text
            return _plain(http.HTTPStatus.FORBIDDEN)

    def _answer(self, request: Request) -> Response | None:
        hosts, origins = request.headers.get_all("Host"), request.headers.get_all("Origin")
        if len(hosts) != 1 or not self._is_mine(hosts[0]):
            return _plain(http.HTTPStatus.FORBIDDEN)
        if any(urlsplit(origin).netloc != hosts[0] for origin in origins):
            return _plain(http.HTTPStatus.FORBIDDEN)
        if self._token is None or self._equals(self._cookie(request, hosts[0])):
            return None
        given = parse_qs(urlsplit(request.path).query).get("token", [""])[0]
        if not self._equals(given) or "Upgrade" in request.headers:
            return _plain(http.HTTPStatus.FORBIDDEN)
        # Off the URL, so that it stays in no history and no title of a window.
        response = _plain(http.HTTPStatus.SEE_OTHER, b"")
        response.headers["Location"] = "/"
        response.headers["Set-Cookie"] = f"{_cookie_name(hosts[0])}={self._token}; Path=/; HttpOnly; SameSite=Lax"
        return response

    def _is_mine(self, host: str) -> bool:
        """A page elsewhere may have its own name point to this host: only this host's names are answered."""
        if self._token is not None:
            return bool(host) and host.isascii() and not set(host) & set(" ;,'\"")
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name in (*_HERE, self._host)

    def _equals(self, given: str) -> bool:
        return self._token is not None and hmac.compare_digest(given.encode(), self._token.encode())

    def _cookie(self, request: Request, host: str) -> str:
        """Read by hand: Python's own reader stops at the first cookie of another program that it does not like."""
        for line in request.headers.get_all("Cookie"):
            for cookie in line.split(";"):
                name, _, value = cookie.strip().partition("=")
                if name == _cookie_name(host):
                    return value
        return ""


def _cookie_name(host: str) -> str:
    """Cookies are shared by all ports of a host: each view has its own."""
    return f"usthand_view_{urlsplit(f'//{host}').port or 80}"


def _plain(status: http.HTTPStatus, text: bytes = _REFUSED) -> Response:
    headers = Headers({"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(text))})
    _protect(headers, "")
    return Response(status.value, status.phrase, headers, text)


def _protect(headers: Headers, host: str) -> None:
    """Have the browser fetch from here only, show this in no other site's frame, and keep nothing."""
    here = f"'self' ws://{host}" if host else "'self'"
    headers["Content-Security-Policy"] = (
        "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob: data:; "
        "style-src 'self' 'unsafe-inline' blob: data:; img-src 'self' blob: data:; font-src 'self' blob: data:; "
        f"media-src 'self' blob: data:; worker-src 'self' blob: data:; connect-src {here} blob: data:; "
        "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
    )
    headers["Referrer-Policy"] = "no-referrer"
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Cache-Control"] = "no-store"
