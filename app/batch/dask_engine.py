"""Tasks on Dask distributed: workers of this machine, or those of a cluster that is there already.

What runs here listens on the loopback interface alone, and has no dashboard.
"""

import asyncio
import logging
import os
import queue
import re
import signal
from collections.abc import Sequence
from typing import Any

from app.batch.engine import EngineSettings, gpu_of, library
from app.batch.task import CORES, run_task
from calibration.errors import UserError
from calibration.programs import handled

_HOST = "127.0.0.1"
_CONNECT_S, _REACH_S = 20, 5
_GIVE_ADDRESS = "Give the address that `dask scheduler` prints, tcp://HOST:8786 (or tls://)."
_QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.admin.system-monitor.disk": False,
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.scheduler.work-stealing": False,
}
"""Dask watches itself for a dashboard that is not there: of two workers that wait for their commands it took 8 % of a
core."""


class DaskEngine:
    """A cluster of `settings.workers` processes, each of which does one task at a time; or a client of another's."""

    def __init__(self, settings: EngineSettings) -> None:
        """Raises UserError where Dask is not installed or the scheduler cannot be reached."""
        library("dask", "batch")
        library("distributed", "batch")
        import distributed
        from dask import config as dask_config

        logging.getLogger("distributed").setLevel(logging.ERROR)
        # A worker gets a task when it is free for it: one that waits at a worker would be blamed for its death.
        told = {
            "distributed.scheduler.allowed-failures": settings.deaths,
            "distributed.scheduler.worker-saturation": 1.0,
            "distributed.comm.timeouts.connect": f"{_CONNECT_S}s",
        } | _QUIET
        self._config = dask_config.set(told)
        self._resources = {"GPU": 1} if settings.gpus else None
        self._cluster: Any = None
        try:
            if settings.scheduler is None:
                # Its workers leave the terminal's Ctrl-C to this process.
                with handled((signal.SIGINT,), signal.SIG_IGN):
                    self._cluster = _local_cluster(settings)
            else:
                asyncio.run(_reach(settings.scheduler))
            address = self._cluster.scheduler_address if self._cluster else settings.scheduler
            self._client = distributed.Client(address, timeout=_CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            self.close_cluster()
            raise UserError(
                f"`--scheduler {settings.scheduler}`: cannot be reached ({error}). {_GIVE_ADDRESS}"
            ) from None
        self._ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._numbers: dict[str, tuple[int, Any]] = {}
        self._given = 0

    def submit(self, number: int, data: bytes) -> None:
        self._given += 1
        key = f"usthand-{number}-{self._given}-{os.getpid()}"
        future = self._client.submit(run_task, data, key=key, pure=False, resources=self._resources)
        self._numbers[key] = number, future
        future.add_done_callback(self._ended.put)

    def next_ended(self, seconds: float) -> tuple[int, bytes | str] | None:
        try:
            future = self._ended.get(timeout=seconds)
        except queue.Empty:
            return None
        number, _ = self._numbers.pop(future.key)
        if future.status == "finished":
            return number, future.result()
        error = future.exception() if future.status == "error" else None
        return number, f"{type(error).__name__}: {error}" if error else f"Dask: {future.status}"

    def close(self) -> None:
        # What ends amid a heartbeat logs a traceback.
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        self._client.close(timeout=5)
        self.close_cluster()

    def close_cluster(self) -> None:
        """Ends the workers of this machine."""
        if self._cluster is not None:
            self._cluster.close(timeout=10)
            self._cluster = None
        self._config.__exit__(None, None, None)


def worker_environment(index: int, settings: EngineSettings, cores: Sequence[int]) -> dict[str, str]:
    """Of a local worker: the cores of its commands, in turn of those that this process may use, and its GPU."""
    own = {cores[(index * settings.cores + each) % len(cores)] for each in range(settings.cores)}
    environment = {CORES: ",".join(map(str, sorted(own)))}
    if settings.gpus:
        environment["CUDA_VISIBLE_DEVICES"] = gpu_of(index, settings.gpus)
    return environment


async def _reach(address: str) -> None:
    """Raises OSError or ValueError where no scheduler answers. A Client that never met one takes half a minute to say
    so, and then ends with a traceback."""
    from distributed.comm.core import connect
    from distributed.security import Security

    connection = Security().get_connection_args("client")
    try:
        # Its own timeout is that of the connection alone: a peer may take that and say nothing.
        comm = await asyncio.wait_for(connect(address, timeout=_REACH_S, **connection), _REACH_S + 1)
    except TimeoutError:
        raise OSError("what listens there says nothing") from None
    except TypeError as error:  # of tls, where Dask's configuration names no certificates
        raise ValueError(str(error)) from None
    await comm.close()


def check_scheduler(address: str) -> None:
    """Raises UserError for what is no address of a Dask scheduler."""
    match = re.fullmatch(r"(?:tcp|tls)://[^\s/]+:(\d{1,5})/?", address)
    if match is None or not 0 < int(match[1]) < 65536:
        raise UserError(f"`--scheduler {address}`: is no address. {_GIVE_ADDRESS}")


def _local_cluster(settings: EngineSettings) -> Any:
    from distributed import Nanny, Scheduler, SpecCluster

    cores = sorted(os.sched_getaffinity(0))
    workers = {}
    for index in range(min(settings.workers, settings.gpus or settings.workers)):
        options = {
            "nthreads": 1,
            "host": _HOST,
            "dashboard": False,
            "dashboard_address": f"{_HOST}:0",
            "memory_limit": 0,
            "resources": {"GPU": 1} if settings.gpus else {},
            "env": worker_environment(index, settings, cores),
            "silence_logs": logging.CRITICAL,  # as in close(): a task's error comes with its result
        }
        workers[index] = {"cls": Nanny, "options": options}
    scheduler = {
        "cls": Scheduler,
        "options": {"host": _HOST, "port": 0, "dashboard": False, "dashboard_address": f"{_HOST}:0"},
    }
    return SpecCluster(workers=workers, scheduler=scheduler)
