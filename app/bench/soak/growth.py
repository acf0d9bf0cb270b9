"""How much more the processes of a run hold at its end than when they had begun."""

from collections import defaultdict, deque

from app.bench.soak.processes import Holding, holding_of

# What a process allocates at first, and keeps, is no growth.
_BEGUN_S = 30.0
# Connections that are being taken up or given back are none either: of so many first looks the most counts, of so many
# last ones the least.
_LOOKS = 5


class Growth:
    """Looks at moments when nothing is amiss, so that what a fault needs for itself does not count."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, int], list[Holding]] = defaultdict(list)
        self._last: dict[tuple[str, int], deque[Holding]] = defaultdict(lambda: deque(maxlen=_LOOKS))

    def look(self, processes: dict[int, str]) -> None:
        for pid, name in processes.items():
            holding = holding_of(pid) if name else None
            if holding is None or holding.age_s <= _BEGUN_S:
                continue
            first = self._first[name, pid]
            (first if len(first) < _LOOKS else self._last[name, pid]).append(holding)

    def result(self) -> dict[str, dict[str, float]]:
        """By process the most that it grew, of those that were started one after the other; over `seconds`."""
        rows: dict[str, list[dict[str, float]]] = defaultdict(list)
        for key, first in self._first.items():
            last = self._last[key]
            if last:
                rows[key[0]].append(
                    {
                        "seconds": round(last[-1].age_s - first[0].age_s),
                        "memory_mb": round(min(each.memory_mb for each in last) - first[0].memory_mb, 2),
                        "descriptors": min(each.descriptors for each in last) - max(each.descriptors for each in first),
                        "threads": min(each.threads for each in last) - max(each.threads for each in first),
                    }
                )
        return {name: {what: max(row[what] for row in each) for what in each[0]} for name, each in sorted(rows.items())}
