"""What is done to a running rig, and when: rounds of every kind of fault, in an order that follows from a seed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

FaultKind = Literal[
    "grabber_killed",
    "grabber_stopped",
    "grabber_hung",
    "worker_killed",
    "worker_stopped",
    "network_stalled",
    "network_cut",
    "clock_jumped",
    "bad_bytes",
    "slow_subscriber",
    "disk_full",
]
KINDS: tuple[FaultKind, ...] = get_args(FaultKind)
OF_WORKER: tuple[FaultKind, ...] = ("worker_killed", "worker_stopped")
OF_REMOTE: tuple[FaultKind, ...] = ("network_stalled", "network_cut", "clock_jumped")
# It takes the watchdog half a minute: every third round has it.
_SELDOM: FaultKind = "grabber_hung"
_ROUNDS = 3
_LONGEST_JUMP_S = 7200.0


@dataclass(frozen=True, kw_only=True)
class ChaosEvent:
    """`lasts_s`: until it is undone, where it has to be. `jump_s`: of a clock."""

    kind: FaultKind
    camera_id: str | None
    lasts_s: float
    jump_s: float = 0.0


def chaos(seed: int, local: Sequence[str], remote: str) -> Iterator[ChaosEvent]:
    """Without end. `local` are the cameras whose grabbers the run has, `remote` the one on "another machine"."""
    random = np.random.default_rng(seed)
    number = 0
    while True:
        number += 1
        for index in random.permutation(len(KINDS)):
            kind = KINDS[index]
            if kind == _SELDOM and number % _ROUNDS:
                continue
            camera_id = remote if kind in OF_REMOTE else None
            if kind.startswith("grabber"):
                camera_id = str(random.choice(list(local)))
            yield ChaosEvent(
                kind=kind,
                camera_id=camera_id,
                lasts_s=float(random.uniform(0.5, 4.0)),
                jump_s=float(random.choice((-1, 1)) * 10 ** random.uniform(-0.5, np.log10(_LONGEST_JUMP_S))),
            )
