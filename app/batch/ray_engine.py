"""Tasks on Ray: a cluster of this machine, or one that is there. No dashboard, and nothing told to its makers."""

import importlib
import os
from typing import Any

from app.batch.engine import EngineSettings, library
from app.batch.task import run_task
from calibration.errors import UserError

_HOST = "127.0.0.1"


def _stay_on_loopback() -> None:
    """Ray puts the machine's outward address in the place of this one, and then listens on all."""
    services: Any = importlib.import_module("ray._private.services")
    services.resolve_ip_for_localhost = lambda host: host


class RayEngine:
    """Ray, with `settings.workers` tasks at once on this machine."""

    def __init__(self, settings: EngineSettings) -> None:
        """Raises UserError where Ray is not installed or its cluster cannot be reached."""
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        # A task without a GPU leaves what it would find alone.
        os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
        self._ray: Any = library("ray", "ray")
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
        if settings.scheduler is not None:
            options["address"] = settings.scheduler
        else:
            options |= {
                "address": "local",
                "num_cpus": settings.workers,
                "num_gpus": settings.gpus,
                "include_dashboard": False,
                "_node_ip_address": _HOST,
            }
            _stay_on_loopback()
        try:
            self._ray.init(**options)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(f"Ray cannot be reached ({error}). Give `--scheduler HOST:6379` of `ray start`.") from None
        # A death of a worker is counted by the batch, so that its reason is kept.
        needs = {"num_cpus": 1, "num_gpus": 1 if settings.gpus else 0, "max_retries": 0}
        self._run = self._ray.remote(**needs)(run_task)
        self._numbers: dict[Any, int] = {}

    def submit(self, number: int, data: bytes) -> None:
        self._numbers[self._run.remote(data)] = number

    def next_ended(self, seconds: float) -> tuple[int, bytes | str] | None:
        ended, _ = self._ray.wait(list(self._numbers), num_returns=1, timeout=seconds)
        if not ended:
            return None
        number = self._numbers.pop(ended[0])
        try:
            return number, self._ray.get(ended[0])
        except self._ray.exceptions.RayError as error:
            return number, f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"

    def close(self) -> None:
        for task in self._numbers:
            self._ray.cancel(task, force=True)
        self._ray.shutdown()
