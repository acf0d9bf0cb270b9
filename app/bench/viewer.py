"""The viewer beside a running worker: redraws a second, and what they cost the worker."""

import os
from collections.abc import Callable
from statistics import median

from app.bench.virtual_display import virtual_display
from app.run.settings import RunSettings
from app.run.supervisor import Outcome, ViewerSettings
from calibration.rig import Rig

SIZE = (1280, 720)


def bench(
    rig: Rig, settings: RunSettings, rounds: int, run: Callable[[Rig, RunSettings, ViewerSettings | None], Outcome]
) -> dict | None:
    """Runs of the rig without and with the viewer in turn; medians over the rounds. None where a run fails.

    DISPLAY is that of the bench afterwards. Raises UserError without Xvfb.
    """
    runs: dict[str, list[dict]] = {"without_viewer": [], "with_viewer": []}
    with virtual_display() as os.environ["DISPLAY"]:
        for _ in range(rounds):
            for name, viewer in (("without_viewer", None), ("with_viewer", ViewerSettings())):
                outcome = run(rig, settings, viewer)
                if outcome.exit_code or not outcome.summary or (viewer and "viewer" not in outcome.summary):
                    return None
                runs[name].append(outcome.summary)
    rates = {name: median(run["fps"] for run in of) for name, of in runs.items()}
    drawn = [run["viewer"] for run in runs["with_viewer"]]
    return {
        "estimator": settings.estimator,
        "cameras": len(rig.cameras),
        "window": list(SIZE),
        "redraws_per_s": round(median(run["redraws_per_s"] for run in drawn), 2),
        "redraw_ms": {name: round(median(run["redraw_ms"][name] for run in drawn), 2) for name in ("p50", "p99")},
        "sets_per_s": {name: round(rate, 2) for name, rate in rates.items()},
        "difference_percent": round(100 * (1 - rates["with_viewer"] / rates["without_viewer"]), 1),
        "latency_ms": {name: round(median(run["latency_ms"]["p50"] for run in of), 1) for name, of in runs.items()},
    }
