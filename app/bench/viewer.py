"""The viewer beside a running worker: redraws a second, and what they cost the worker."""

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from statistics import median

from app.run.settings import RunSettings
from app.run.supervisor import Outcome, ViewerSettings
from calibration.errors import UserError
from calibration.rig import Rig

SIZE = (1280, 720)
_SETTLES_S = 10


@contextlib.contextmanager
def private_display() -> Iterator[None]:
    """A display of Xvfb in place of DISPLAY, so that the same is measured everywhere. Raises UserError without Xvfb."""
    read_end, write_end = os.pipe()
    command = ["Xvfb", "-displayfd", str(write_end), "-screen", "0", "1280x720x24", "-nolisten", "tcp", "-noreset"]
    before = os.environ.get("DISPLAY")
    try:
        process = subprocess.Popen(command, pass_fds=[write_end], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except FileNotFoundError:
        os.close(read_end)
        raise UserError("`Xvfb` is not there, in which the viewer is measured: apt-get install xvfb") from None
    finally:
        os.close(write_end)
    try:
        with os.fdopen(read_end) as pipe:
            os.environ["DISPLAY"] = f":{pipe.readline().strip()}"
        yield
    finally:
        process.terminate()
        process.wait(_SETTLES_S)
        if before is None:
            os.environ.pop("DISPLAY", None)
        else:
            os.environ["DISPLAY"] = before


def bench(
    rig: Rig, settings: RunSettings, rounds: int, run: Callable[[Rig, RunSettings, ViewerSettings | None], Outcome]
) -> dict | None:
    """Runs of the rig without and with the viewer in turn; medians over the rounds. None where a run fails."""
    runs: dict[str, list[dict]] = {"without_viewer": [], "with_viewer": []}
    with private_display():
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
