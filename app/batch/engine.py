"""What a batch runs on: an engine takes tasks as JSON, gives each to a worker, and says how each ended."""

import importlib
import os
import subprocess
from dataclasses import dataclass, field
from typing import Any, Protocol

from calibration.errors import UserError


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """`workers` at once; `cores` of each, of a local cluster; `gpus` on this machine, one a task (0: none are kept
    apart); `scheduler`: the address of a cluster that is there; `slurm`: its parameters, as submitit names them; `out`:
    the batch's folder; `deaths`: how often a task's worker may die."""

    workers: int
    out: str
    cores: int = 1
    gpus: int = 0
    scheduler: str | None = None
    slurm: dict[str, str] = field(default_factory=dict)
    deaths: int = 2


class BatchEngine(Protocol):
    def submit(self, number: int, data: bytes) -> None:
        """Gives the task to a worker, sooner or later."""
        ...

    def next_ended(self, seconds: float) -> tuple[int, bytes | str] | None:
        """A task that ended, with its outcome, or what the engine says of why there is none; None after so long."""
        ...

    def close(self) -> None:
        """Ends all that this batch began; tasks that still run are ended."""
        ...


def library(name: str, extra: str) -> Any:
    """An engine's library. Raises UserError where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(
            f'a batch needs {name.split(".")[0]}, which is not installed: pip install "usthand-live[{extra}]"'
        ) from None


def gpus_here() -> int:
    """How many NVIDIA GPUs this process may use."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return len([each for each in allowed.split(",") if each.strip() not in ("", "-1")])
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines()) if listed.returncode == 0 else 0


def gpu_of(worker: int, gpus: int) -> str:
    """What CUDA_VISIBLE_DEVICES is to be for a worker of this machine."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [each.strip() for each in allowed.split(",")] if allowed else [str(index) for index in range(gpus)]
    return names[worker % gpus]
