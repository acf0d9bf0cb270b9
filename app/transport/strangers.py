"""Peers that send what is no message of ours: counted, named, and after some tries not listened to for a while."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class StrangerSettings:
    """`tries`: messages that are refused before a peer is ignored, for `ignored_s`; after that one more is enough.
    `most_peers` are remembered."""

    tries: int = 20
    ignored_s: float = 10.0
    most_peers: int = 1000


@dataclass
class _Stranger:
    tries: int = 0
    until_s: float = float("-inf")


class Strangers:
    """By connection: an address, and what tells its connections apart. What comes over this host's private sockets is
    from a connection like any other."""

    def __init__(
        self,
        settings: StrangerSettings = StrangerSettings(),
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._now_s = settings, now_s
        self.refused = 0
        self._known: dict[tuple[str, int], _Stranger] = {}
        self._ignored_until_s = float("-inf")

    @property
    def any_ignored(self) -> bool:
        """Whether it is worth to find out who sends."""
        return self._now_s() < self._ignored_until_s

    def is_ignored(self, peer: tuple[str, int]) -> bool:
        return peer in self._known and self._now_s() < self._known[peer].until_s

    def refuse(self, peer: tuple[str, int], why: str) -> None:
        self.refused += 1
        if len(self._known) >= self._settings.most_peers and peer not in self._known:
            self._known.pop(next(iter(self._known)))
        stranger = self._known.setdefault(peer, _Stranger())
        stranger.tries += 1
        name = peer[0] or "a program on this machine"
        if stranger.tries == 1:
            log.warning("%s sends what is no message of this version (%.200s): left out", name, why)
        if stranger.tries == self._settings.tries:
            log.warning(
                "%s: %d such messages; it is ignored while it goes on. End it, or update it", name, stranger.tries
            )
        if stranger.tries >= self._settings.tries:
            self._ignored_until_s = stranger.until_s = self._now_s() + self._settings.ignored_s
