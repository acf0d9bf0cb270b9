"""Which cameras see the hands where the others do, over time; one that does not was moved, exchanged, or froze."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Sight = Literal["agrees", "elsewhere", "nothing"]
"""What a camera saw of a hand that others see in its picture."""


_AT_ODDS = (
    "at odds: it does not see the hands where the other cameras do; was it moved, is it covered, does its picture "
    "stand still, or is it another camera than rig.yaml says?"
)


@dataclass(frozen=True, kw_only=True)
class WatchSettings:
    """`memory`: sets that a share is of, a second or two. `share`: a camera of which so many sets say that it sees
    nothing, or hands elsewhere, is named, after `least` of them; one of which `elsewhere` say that alone is named and
    left out, until `agreed` sets in a row agree, but not while it agreed in one of the last `lately`: a camera that was
    moved does not, but one in which a network errs does now and then."""

    memory: float = 30.0
    share: float = 0.8
    elsewhere: float = 0.5
    least: int = 30
    agreed: int = 3
    lately: int = 15


@dataclass(kw_only=True)
class _Record:
    count: int = 0
    elsewhere: float = 0.0
    nothing: float = 0.0
    agreed: int = 0
    since_agreed: int = 0
    is_elsewhere: bool = False


class ViewWatch:
    """Fed with what each camera saw in each set; says which are to be left out, and what the user should know."""

    def __init__(self, settings: WatchSettings = WatchSettings()) -> None:
        self._settings = settings
        self._records: dict[str, _Record] = {}
        self.exchanged: tuple[str, str] | None = None

    def learn(self, seen: Mapping[str, Sight]) -> None:
        """Of one set. Cameras of which nothing can be said are left out."""
        for camera_id, sight in seen.items():
            record = self._records.setdefault(camera_id, _Record())
            record.count += 1
            weight = 1 / min(record.count, self._settings.memory)
            record.elsewhere += weight * ((sight == "elsewhere") - record.elsewhere)
            record.nothing += weight * ((sight == "nothing") - record.nothing)
            record.agreed = record.agreed + 1 if sight == "agrees" else 0
            record.since_agreed = 0 if sight == "agrees" else record.since_agreed + 1
            if record.agreed >= self._settings.agreed and record.is_elsewhere:
                self._records[camera_id] = _Record()
            elif record.count >= self._settings.least and record.since_agreed >= self._settings.lately:
                record.is_elsewhere |= record.elsewhere > self._settings.elsewhere
        if self.exchanged and not set(self.exchanged) <= set(self.doubtful):
            self.exchanged = None

    @property
    def doubtful(self) -> list[str]:
        """Cameras that do not see the hands where the others do."""
        least, share = self._settings.least, self._settings.share
        return [
            camera_id
            for camera_id, record in self._records.items()
            if record.is_elsewhere or (record.count >= least and record.elsewhere + record.nothing > share)
        ]

    def left_out(self, camera_ids: Sequence[str]) -> list[str]:
        """Of the cameras of a set those that see hands elsewhere, as long as two others remain."""
        bad = [c for c in camera_ids if c in self._records and self._records[c].is_elsewhere]
        return bad if len(camera_ids) - len(bad) >= 2 else []

    def notes(self) -> dict[str, str]:
        """What to tell of each doubtful camera."""
        notes = dict.fromkeys(self.doubtful, _AT_ODDS)
        if self.exchanged:
            for one, other in (self.exchanged, self.exchanged[::-1]):
                notes[one] = f"exchanged: it shows what {other} should, and {other} what it should"
        return notes
