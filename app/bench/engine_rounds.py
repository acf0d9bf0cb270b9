"""Rounds of measurements: engines in processes of their own, in turn, and what the CPU can do, in each round."""

import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import numpy as np
from tqdm import tqdm

from app.bench.engine_sets import STAGES, Case, Round, measure_ceilings, prepare, run_case
from app.worker.statistics import rounded
from calibration.programs import join_pool

ROUNDS = 5
_CEILING_S = 0.15
_TRIAL_S = 2.0

Rounds = dict[Case, list[Round]]


@dataclass
class Ceilings:
    """Of each round: GFLOP/s by what calculates, with its precision, and GB/s of memory."""

    gemms: list[dict[str, tuple[str, float]]] = field(default_factory=list)
    memcpy: list[float] = field(default_factory=list)

    def gflops(self, precision: str) -> list[float] | None:
        """The best in each round; None where nothing calculates in that precision."""
        found = [[value for kind, value in gemms.values() if kind == precision] for gemms in self.gemms]
        return [max(values) for values in found] if all(found) else None


class EngineProcesses:
    """A process for each name, in which functions run; all use as many cores as there are."""

    def __init__(self, cores: int) -> None:
        self.cores = cores
        self._context = multiprocessing.get_context("spawn")
        self._pools: dict[str, ProcessPoolExecutor] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pool in self._pools.values():
            pool.shutdown()

    def call(self, name: str, function: Callable, *given: Any) -> Any:
        """The function's result from the process of that name. Raises what the function does."""
        if name not in self._pools:
            self._begin(name, {})
        return self._pools[name].submit(function, *given).result()

    def choose(self, name: str, environments: Sequence[dict[str, str]], case: Case) -> None:
        """Let the process of that name have the environment, of these, in which the case runs faster."""
        taken_ms = {}
        for number, environment in enumerate(environments):
            trial = f"{name} {number}"
            self._begin(trial, environment)
            self.call(trial, prepare, case)
            taken_ms[trial] = self.call(trial, run_case, case, _TRIAL_S).median_ms()
        best = min(taken_ms, key=lambda trial: taken_ms[trial])
        for trial in taken_ms:
            pool = self._pools.pop(trial)
            if trial == best:
                self._pools[name] = pool
            else:
                pool.shutdown()

    def _begin(self, name: str, environment: dict[str, str]) -> None:
        # torch might else choose fewer threads than OpenVINO and ONNX Runtime do.
        given = {"OMP_NUM_THREADS": str(self.cores), **environment}
        self._pools[name] = ProcessPoolExecutor(1, self._context, _begin, (given,))


def _begin(environment: dict[str, str]) -> None:
    os.environ.update(environment)  # before a library that reads it is loaded
    join_pool()


def measure(processes: EngineProcesses, cases: Sequence[Case], seconds: float) -> tuple[Rounds, Ceilings]:
    """All cases in turn, ROUNDS times; so many seconds of each in all."""
    for case in cases:
        processes.call(case.engine, prepare, case)
    rounds: Rounds = {case: [] for case in cases}
    ceilings = Ceilings()
    for _ in tqdm(range(ROUNDS), "rounds", leave=False, disable=not sys.stderr.isatty()):
        gemms, memcpy = processes.call("ceilings", measure_ceilings, processes.cores, _CEILING_S)
        ceilings.gemms.append(gemms)
        ceilings.memcpy.append(memcpy)
        for case in cases:
            rounds[case].append(processes.call(case.engine, run_case, case, seconds / ROUNDS))
    return rounds, ceilings


def milliseconds(found: list[Round]) -> dict[str, dict[str, float | None]]:
    """Percentiles of each stage over all rounds."""
    times_ms = np.concatenate([each.times_ms for each in found])
    return {
        f"{stage}_ms": {f"p{q}": rounded(float(np.percentile(of_stage, q))) for q in (50, 95, 99)}
        for stage, of_stage in zip(STAGES, times_ms.T, strict=True)
    }


def median_ms(found: list[Round]) -> float:
    """The median of the rounds' medians."""
    return float(np.median([each.median_ms() for each in found]))


def ratio(of: list[Round], to: list[Round], stage: str = "whole") -> float:
    """How many times as long, round by round: the median."""
    return float(np.median([a.median_ms(stage) / b.median_ms(stage) for a, b in zip(of, to, strict=True)]))
