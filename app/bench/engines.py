"""Speed of the network by engine, views, hands, M and K, against torch, a window without ring, and what the CPU can do.

Each engine has a process, so that its threads disturb no other's. Everything that is compared is measured in turn, in
rounds, and a ratio is the median of the rounds' ratios: what else the machine does hits all alike.
"""

import logging
from collections.abc import Iterable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from app.bench.engine_networks import ExportedNetwork, export_untrained
from app.bench.engine_rounds import ROUNDS, Ceilings, EngineProcesses, Rounds, measure, median_ms, milliseconds, ratio
from app.bench.engine_sets import Case, Round, prepare
from app.worker.statistics import rounded
from calibration.errors import UserError
from models.network.config import config_from

log = logging.getLogger(__name__)

_USUAL_VIEWS = 4
# Threads of torch that wait awake are faster where nothing else runs, and many times slower where something does.
_WAITING = ({}, {"OMP_WAIT_POLICY": "passive"})


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to measure; `seconds` of each row. Sweeps without values are left out."""

    engines: Sequence[str]
    views: Sequence[int]
    hands: Sequence[int]
    hypotheses: Sequence[int] = ()
    blocks: Sequence[int] = ()
    seconds: float = 1.0

    @property
    def usual(self) -> tuple[int, int]:
        """Views and hands of the comparisons that are made once."""
        return _USUAL_VIEWS if _USUAL_VIEWS in self.views else self.views[0], self.hands[0]


def bench(plan: Plan, network: ExportedNetwork, directory: Path, cores: int) -> dict:
    """See docs/performance.md. The networks of the sweeps are exported to `directory`.

    Raises UserError where none of the engines can run here.
    """
    views, hands = plan.usual
    with EngineProcesses(cores) as processes:
        usual = {engine: _case(network, engine, plan.usual) for engine in plan.engines}
        names, skipped = _start(processes, usual.values())
        if not names:
            raise UserError("none of the engines can run here: " + "; ".join(skipped.values()))
        cases = [
            _case(network, engine, (V, H), recompute)
            for V in plan.views
            for H in plan.hands
            for engine in names
            for recompute in (False, True)
            if not recompute or plan.usual == (V, H)
        ]
        rounds, ceilings = measure(processes, cases, plan.seconds)
        best = min(names, key=lambda name: median_ms(rounds[usual[name]]))
        log.info("the fastest here is %s", names[best])
        sweeps = {
            what: _sweep(processes, plan, network, best, what, values, directory)
            for what, values in (("hypotheses", plan.hypotheses), ("blocks", plan.blocks))
        }
    rows = [_row(case, rounds, network, names[case.engine], ceilings) for case in cases if not case.recompute]
    recompute = [_against_recompute(case, rounds) for case in cases if case.recompute]
    return {
        "network": msgspec.to_builtins(network.config),
        "cores": cores,
        "rounds": ROUNDS,
        "seconds": plan.seconds,
        "views": views,
        "hands": hands,
        "engines": names,
        "skipped": skipped,
        "fastest": best,
        "gemm_gflops": {
            name: rounded(float(np.median([each[name][1] for each in ceilings.gemms]))) for name in ceilings.gemms[0]
        },
        "memcpy_gb_per_s": rounded(float(np.median(ceilings.memcpy))),
        "work": {
            stage: {name: rounded(value, 6) for name, value in work.items()}
            for stage, work in network.work(views, hands).items()
        },
        "rows": rows,
        "recompute": recompute,
        **sweeps,
        "added_view": added_view(rounds, plan, best),
    }


def _case(network: ExportedNetwork, engine: str, size: tuple[int, int], recompute: bool = False) -> Case:
    """Of so many views and hands."""
    return Case(source=network.source(engine), engine=engine, views=size[0], hands=size[1], recompute=recompute)


def _start(processes: EngineProcesses, cases: Iterable[Case]) -> tuple[dict[str, str], dict[str, str]]:
    """The engines' own names, and why those that are left out cannot run."""
    names, skipped = {}, {}
    for case in cases:
        try:
            if case.engine.endswith("bf16") and not _has_bfloat16():
                raise UserError("this CPU has neither AVX-512 BF16 nor AMX, so that bfloat16 would run as float32")
            if case.engine == "torch":
                processes.choose(case.engine, _WAITING, case)
            names[case.engine] = processes.call(case.engine, prepare, case)
        except (UserError, ImportError, RuntimeError, BrokenProcessPool) as error:
            skipped[case.engine] = str(error)
            log.warning("engine: %s is left out: %s", case.engine, error)
    return names, skipped


def _has_bfloat16() -> bool:
    cpu = Path("/proc/cpuinfo")
    return not cpu.exists() or any(flag in cpu.read_text() for flag in ("avx512_bf16", "amx_bf16", " bf16"))


def _sweep(
    processes: EngineProcesses,
    plan: Plan,
    network: ExportedNetwork,
    engine: str,
    what: str,
    values: Sequence[int],
    directory: Path,
) -> list[dict]:
    """Rows of networks that differ in `what`, a field of their config, of `engine`."""
    if not values:
        return []
    views, hands = plan.usual
    networks = {}
    for value in values:
        config = config_from(msgspec.to_builtins(network.config) | {what: value}, f"`--{what} {value}`")
        same = config == network.config
        networks[value] = (
            network if same else export_untrained(config, directory / f"{what}_{value}", engine == "tensorrt")
        )
    cases = {value: _case(each, engine, plan.usual) for value, each in networks.items()}
    rounds, _ = measure(processes, list(cases.values()), plan.seconds)
    rows = []
    for value, case in cases.items():
        work = networks[value].work(views, hands)
        rows.append(
            {
                what: value,
                "stage1_gflop": rounded(work["stage1"]["operations"] / 1e9),
                "transformer_gflop": rounded(work["transformer"]["operations"] / 1e9),
                **milliseconds(rounds[case]),
                "times_the_first": rounded(ratio(rounds[case], rounds[cases[values[0]]])),
            }
        )
    return rows


def _row(case: Case, rounds: Rounds, network: ExportedNetwork, name: str, ceilings: Ceilings) -> dict:
    found = rounds[case]
    whole_ms = np.concatenate([each.times_ms[:, -1] for each in found])
    reference = rounds.get(replace(case, source=network.checkpoint, engine="torch"))
    precision = _precision(case.engine)
    p50, p99 = np.percentile(whole_ms, (50, 99))
    return {
        "engine": case.engine,
        "precision": precision,
        "views": case.views,
        "hands": case.hands,
        "sets": len(whole_ms),
        "sets_per_s": rounded(1e3 / whole_ms.mean()),
        **milliseconds(found),
        "p99_of_p50": rounded(p99 / p50),
        "cores": rounded(float(np.median([each.cores for each in found])), 3),
        "times_faster_than_torch": rounded(ratio(reference, found)) if reference else None,
        "rates": {
            stage: stage_rates(stage, work, found, ceilings, precision if "cpu" in name.lower() else None)
            for stage, work in network.work(case.views, case.hands).items()
        },
    }


def stage_rates(
    stage: str, work: dict[str, float], found: list[Round], ceilings: Ceilings, precision: str | None
) -> dict[str, float | None]:
    """A stage's rates, and their shares of what the CPU can do; `precision` None is not on the CPU."""
    seconds = np.array([each.median_ms(stage) for each in found]) / 1e3
    gflops, gb_per_s = work["operations"] / seconds / 1e9, work["least_bytes"] / seconds / 1e9
    most = ceilings.gflops(precision) if precision and work["operations"] else None
    return {
        "gflop_per_s": rounded(float(np.median(gflops))) if work["operations"] else None,
        "of_gemm": rounded(float(np.median(gflops / most)), 3) if most else None,
        "gb_per_s": rounded(float(np.median(gb_per_s))),
        "of_memcpy": rounded(float(np.median(gb_per_s / ceilings.memcpy)), 3) if precision else None,
    }


def _precision(engine: str) -> str:
    return {"openvino-bf16": "bfloat16", "tensorrt": "float16"}.get(engine, "float32")


def _against_recompute(case: Case, rounds: Rounds) -> dict:
    ring = rounds[replace(case, recompute=False)]
    return {
        "engine": case.engine,
        **milliseconds(rounds[case]),
        "ring_times_faster": rounded(ratio(rounds[case], ring)),
        "stage1_times_faster": rounded(ratio(rounds[case], ring, "stage1")),
    }


def added_view(rounds: Rounds, plan: Plan, engine: str) -> float | None:
    """The milliseconds of a view more, in those of a view of the smallest rig: at most 1 is at most linear."""
    fewest, most = min(plan.views), max(plan.views)
    by_views = {case.views: found for case, found in rounds.items() if _is_usual(case, plan, engine)}
    if fewest == most:
        return None
    times = ratio(by_views[most], by_views[fewest])
    return rounded((times - 1) / (most / fewest - 1), 3)


def _is_usual(case: Case, plan: Plan, engine: str) -> bool:
    return (case.engine, case.hands, case.recompute) == (engine, plan.usual[1], False)
