"""What a calibration makes of a recording with a fault: is it called good though points are off? Is the fault named?

`python -m tests.support.fault_outcomes 300` prints a table over so many random faults.
"""

import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from calibration.errors import UserError
from calibration.result.result import CalibrationOptions, CalibrationResult
from calibration.solve.calibrate import calibrate
from tests.support.board_scene import BOARD
from tests.support.random_faults import FAULTS, FaultyRecording, measured_errors, random_fault

# A point that is farther off, or a length, is wrong at arm's length.
WRONG_MM, WRONG_PERCENT = 1.0, 0.3
# A time offset that is right to this is found.
FOUND_MS = 3.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """`verdict` is "refused" where nothing was solved, `told` all that was said."""

    seed: int
    recording: FaultyRecording
    verdict: str
    told: str
    off_mm: float
    off_percent: float
    named: bool

    @property
    def wrong(self) -> bool:
        return not (self.off_mm <= WRONG_MM and abs(self.off_percent) <= WRONG_PERCENT)

    def __str__(self) -> str:
        fault, size = self.recording, f"{len(self.recording.rig.cameras)} cameras, {self.recording.noise_px:.2f} px"
        flag = "GOOD BUT WRONG" if self.verdict == "good" and self.wrong else "" if self.named else "not named"
        off = f"{self.off_mm:.2f} mm, {self.off_percent:+.2f} %"
        return (
            f"{self.seed}: {fault.kind}: {fault.fault} ({size}): {self.verdict}, {off} {flag}\n      {self.told[:300]}"
        )


def outcome(seed: int, kind: str | None = None) -> Outcome:
    recording = random_fault(seed, kind)
    try:
        result = calibrate(
            recording.detections, BOARD, options=CalibrationOptions(lens="pinhole5", max_sets=60, final_sets=120)
        )
    except UserError as error:
        named = any(word in str(error) for word in _WORDS.get(recording.kind, ()))
        return Outcome(seed=seed, recording=recording, verdict="refused", told=str(error), off_mm=np.nan,
                       off_percent=np.nan, named=named)  # fmt: skip
    off_mm, off_percent = measured_errors(result.rig, recording.rig, recording.reach_m)
    bent = [warning for warning in result.warnings if "bent" in warning]
    return Outcome(
        seed=seed,
        recording=recording,
        verdict=result.verdict,
        told="; ".join([*result.reasons, *bent, *result.remedies]),
        off_mm=off_mm,
        off_percent=off_percent,
        named=_named(recording, result, [*result.reasons, *bent]),
    )


# What a refusal says of the faults that make a calibration impossible.
_WORDS = {
    "mirrored": ("mirror",),
    "wrong board": ("board.yaml", "another board", "not the board"),
    "rate": ("time stamps",),
    "offset": ("time stamps",),
    "exchanged": ("exchanged",),
}


def _named(recording: FaultyRecording, result: CalibrationResult, told: list[str]) -> bool:
    kind, camera, cause = recording.kind, recording.camera, result.cause
    if kind == "sound":
        return cause is None and not result.shape.solved
    if kind == "print":
        return any("not square" in one for one in told)
    if kind == "bend":
        return any("bent by" in one for one in told)
    if kind == "offset" and _offset_found(recording, result):
        return True
    if kind in ("mirrored", "wrong board"):
        return any(word in one for one in [*told, *result.remedies] for word in _WORDS[kind])
    wanted = {"focus": "focus", "bump": "moved", "offset": "clock", "rate": "clock", "exchanged": "exchanged"}[kind]
    return cause is not None and cause.kind == wanted and camera in cause.cameras


def _offset_found(recording: FaultyRecording, result: CalibrationResult) -> bool:
    offsets = {camera_id: one.time_offset_ns / 1e6 for camera_id, one in result.cameras.items()}
    others = [offset for camera_id, offset in offsets.items() if camera_id != recording.camera]
    assert recording.camera is not None
    late_ms = offsets[recording.camera] - float(np.mean(others))
    return abs(late_ms - recording.late_ms) < FOUND_MS and float(np.ptp(others)) < 2 * FOUND_MS


def summary(outcomes: Iterable[Outcome]) -> str:
    """A line for each kind of fault."""
    outcomes = list(outcomes)
    lines = ["fault | recordings | good / usable / poor / refused | named | good but wrong"]
    for kind in FAULTS:
        own = [one for one in outcomes if one.recording.kind == kind]
        if not own:
            continue
        verdicts = Counter(one.verdict for one in own)
        counts = " / ".join(str(verdicts[verdict]) for verdict in ("good", "usable", "poor", "refused"))
        bad = sum(one.verdict == "good" and one.wrong for one in own)
        lines.append(f"{kind} | {len(own)} | {counts} | {sum(one.named for one in own)} | {bad}")
    faults = [one for one in outcomes if one.recording.kind != "sound"]
    lines.append(f"named: {sum(one.named for one in faults)} of {len(faults)} faults")
    return "\n".join(lines)


def main() -> None:
    first, last = (0, int(sys.argv[1])) if len(sys.argv) < 3 else (int(sys.argv[1]), int(sys.argv[2]))
    done = []
    for seed in range(first, last):
        done.append(outcome(seed))
        print(done[-1], flush=True)
    print(summary(done))


if __name__ == "__main__":
    main()
