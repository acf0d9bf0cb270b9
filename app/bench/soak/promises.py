"""What docs/reliability.md promises, held against what a soak found."""

from collections.abc import Iterator
from dataclasses import dataclass

from app.bench.soak.schedule import OF_REMOTE, OF_WORKER

HOSTILE_KEPT = 0.95
"""Of the other cameras' rate while a peer with the keys sends 100,000 messages a second that are none."""


@dataclass(frozen=True, kw_only=True)
class PromiseLimits:
    """`lost_share`: of the moments without any fault, those without a set. Of those of a fault of one camera or peer,
    `lost_share_others`, and `lost_an_event` besides: as a camera is given up two sets close at once, and the newer is
    taken. Seconds until all is well: `worker_s` and `camera_s` of a process that must be started again, `network_s` of
    a connection or a clock, `peer_s` of others that lose nothing. Growth of a process: `memory_mb`, `descriptors`,
    `threads`."""

    lost_share: float = 0.01
    lost_share_others: float = 0.02
    lost_an_event: int = 2
    worker_s: float = 3.0
    camera_s: float = 3.0
    network_s: float = 3.0
    peer_s: float = 0.5
    memory_mb: float = 5.0
    descriptors: int = 0
    threads: int = 0


def broken_promises(result: dict, limits: PromiseLimits = PromiseLimits()) -> list[str]:
    """One line for each."""
    broken = []
    if result["lost_beside_share"] > limits.lost_share:
        broken.append(f"{result['lost_beside_share']:.1%} of the sets are lost beside all faults")
    broken += [line for kind in result["causes"] for line in _of_cause(kind, result, limits)]
    broken += [
        f"{name} grew by {row[what]:g} {what} in {row['seconds']:g} s"
        for name, row in result["growth"].items()
        for what in ("memory_mb", "descriptors", "threads")
        if row[what] > getattr(limits, what)
    ]
    return [*broken, *_of_the_end(result)]


def _of_cause(kind: str, result: dict, limits: PromiseLimits) -> Iterator[str]:
    row, most_s = result["causes"][kind], _most_s(kind, limits)
    if row["recovered"] < row["events"]:
        yield f"{kind}: {row['events'] - row['recovered']} of {row['events']} not recovered from"
    if (row["recover_s_most"] or 0) > most_s:
        yield f"{kind}: {row['recover_s_most']} s until all was well, {most_s:g} promised"
    lost, moments = result["lost_during"][kind], result["fps"] * result["seconds_during"][kind]
    allowed = limits.lost_an_event * row["events"] + limits.lost_share_others * moments
    if kind not in OF_WORKER and lost > allowed:
        yield f"{kind}: {lost} of {moments:.0f} sets of the other cameras lost meanwhile"


def _of_the_end(result: dict) -> Iterator[str]:
    if result["exit_code"] != 0:
        yield f"the run ended with exit code {result['exit_code']}"
    if not result["summary"]["frame_sets"]:
        yield "the run printed no summary"
    if result["left_behind"]:
        yield f"left behind: {', '.join(result['left_behind'])}"
    if result["tracebacks"]:
        yield f"{result['tracebacks']} tracebacks in the log"


def _most_s(kind: str, limits: PromiseLimits) -> float:
    if kind in OF_WORKER:
        return limits.worker_s
    if kind in OF_REMOTE:
        return limits.network_s
    return limits.camera_s if kind.startswith("grabber") else limits.peer_s
