"""What a bench of engines found, as tables to read: for a terminal, or in Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass

_STAGES = {"crops": "crops", "stage1": "stage 1", "ring": "ring", "transformer": "transformer"}


@dataclass(frozen=True)
class Table:
    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str | float | None]]

    def aligned(self) -> str:
        cells = [list(self.head), *([_text(cell) for cell in row] for row in self.rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(self.head))]
        lines = [
            "  ".join(
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in cells
        ]
        return "\n".join([self.title, *lines])

    def markdown(self) -> str:
        cells = [list(self.head), ["---"] * len(self.head), *([_text(cell) for cell in row] for row in self.rows)]
        return "\n".join([f"{self.title}:", "", *("| " + " | ".join(row) + " |" for row in cells)])


def tables(result: dict) -> list[Table]:
    """The tables of a result of app.bench.engines."""
    usual = f"{result['views']} views, {_hands(result['hands'])}"
    network = result["network"]
    return [
        _speeds(result, f"Recipe {network['recipe']}, {result['cores']} cores: milliseconds of a set, medians"),
        *_recompute(result, f"The ring against recomputing all {network['frames']} frames, {usual}"),
        _ceilings(result, f"How far from what the CPU can do, {usual}"),
        *_sweep(result, "hypotheses", f"Hypotheses M, {usual}, {result['fastest']}"),
        *_sweep(result, "blocks", f"Blocks K, {usual}, {result['fastest']}"),
    ]


def summary(result: dict) -> list[str]:
    """The figures in sentences."""
    gemms = ", ".join(f"{name} {gflops:.0f} GFLOP/s" for name, gflops in result["gemm_gflops"].items())
    lines = [f"a product of matrices: {gemms}; memcpy {result['memcpy_gb_per_s']:.0f} GB/s, read and written"]
    row = _usual_rows(result)[result["fastest"]]
    said = [f"{row['sets_per_s']:g} sets/s", f"p99 {row['p99_of_p50']:g} times the median"]
    if row["times_faster_than_torch"] is not None:
        said.append(f"{row['times_faster_than_torch']:g} times as fast as torch")
    said += [
        f"{each['ring_times_faster']:g} times as fast as recomputing the window"
        for each in result["recompute"]
        if each["engine"] == result["fastest"]
    ]
    if result["added_view"] is not None:
        said.append(f"a view more costs {result['added_view']:g} times what one costs in the smallest rig")
    if result["hypotheses"]:
        last = result["hypotheses"][-1]
        more = last["times_the_first"] - 1
        said.append(f"M from {result['hypotheses'][0]['hypotheses']} to {last['hypotheses']} adds {more:.0%}")
    where = f"{result['views']} views, {_hands(result['hands'])}"
    return [*lines, f"the fastest, {result['engines'][result['fastest']]}, with {where}: " + ", ".join(said)]


def _speeds(result: dict, title: str) -> Table:
    return Table(
        title,
        [
            *("engine", "views", "hands", *_STAGES.values()),
            *("whole", "p95", "p99", "sets/s", "times torch's speed", "cores"),
        ],
        [
            [
                *(row["engine"], row["views"], row["hands"], *(row[f"{stage}_ms"]["p50"] for stage in _STAGES)),
                *row["whole_ms"].values(),
                *(row["sets_per_s"], row["times_faster_than_torch"], row["cores"]),
            ]
            for row in result["rows"]
        ],
    )


def _recompute(result: dict, title: str) -> list[Table]:
    rows = _usual_rows(result)
    found = [
        [
            each["engine"],
            *(of[f"{stage}_ms"]["p50"] for stage in ("stage1", "whole") for of in (rows[each["engine"]], each)),
            each["ring_times_faster"],
        ]
        for each in result["recompute"]
    ]
    head = ["engine", "stage 1 ms", "stage 1 of all frames", "whole ms", "whole, recomputed", "times faster"]
    return [Table(title, head, found)]


def _ceilings(result: dict, title: str) -> Table:
    found = []
    for name, row in _usual_rows(result).items():
        for stage, label in _STAGES.items():
            work, rates = result["work"][stage], row["rates"][stage]
            found.append(
                [
                    *(name, label, row[f"{stage}_ms"]["p50"]),
                    work["operations"] / 1e9 or None,
                    *(rates["gflop_per_s"], rates["of_gemm"]),
                    *(work["least_bytes"] / 1e6, work["counted_bytes"] / 1e6),
                    *(rates["gb_per_s"], rates["of_memcpy"]),
                ]
            )
    head = ["engine", "stage", "ms", "GFLOP", "GFLOP/s", "of GEMM", "MB at least", "MB unfused", "GB/s", "of memcpy"]
    return Table(title, head, found)


def _sweep(result: dict, what: str, title: str) -> list[Table]:
    rows = [
        [
            *(row[what], row["stage1_gflop"], row["transformer_gflop"]),
            *(row[f"{stage}_ms"]["p50"] for stage in (*_STAGES, "whole")),
            row["times_the_first"],
        ]
        for row in result[what]
    ]
    letter = {"hypotheses": "M", "blocks": "K"}[what]
    head = [letter, "GFLOP stage 1", "GFLOP transformer", *_STAGES.values(), "whole ms", "times the first"]
    return [Table(title, head, rows)] if rows else []


def _usual_rows(result: dict) -> dict[str, dict]:
    usual = (result["views"], result["hands"])
    return {row["engine"]: row for row in result["rows"] if (row["views"], row["hands"]) == usual}


def _hands(count: int) -> str:
    return "one hand" if count == 1 else f"{count} hands"


def _text(cell: str | float | None) -> str:
    return "" if cell is None else cell if isinstance(cell, str) else f"{cell:.3g}"
