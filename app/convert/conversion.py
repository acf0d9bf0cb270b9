"""From a pose file to the file of another program."""

import contextlib
import logging
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from app.convert.fitting import with_fit
from app.convert.formats import check_out
from app.convert.gaps import fill_gaps, without_filled
from app.convert.hand_recording import HandRecording
from app.convert.output import whole_file
from app.convert.reading import NoHand, read_recording
from app.convert.smoothing import smooth
from app.convert.up import turn_up
from app.convert.validity import validity_file, write_validity
from calibration.errors import UserError

log = logging.getLogger(__name__)


def convert(
    poses: Path, out: Path, fill_ms: float = 0.0, smoothed: bool = False, up: str = "z", join: bool = False
) -> dict:
    """Convert a pose file to the format that the ending of `out` says; returns what was written, for `--json`.

    Gaps of at most `fill_ms` are interpolated; `smoothed` takes noise away before. `up` is the axis of the rig's world
    that is z in the file, of UPS; `join` is as `read_recording` has it. Raises UserError where the pose file cannot be
    read or `out` cannot be of it, WriteError where it cannot be written; then `out` is as it was.
    """
    known = check_out(out)
    if out.exists() and poses.exists() and out.samefile(poses):
        raise UserError(f"`{out}` is the file of poses itself, which stays as it is. Give another name.")
    write = known.writer()
    recording = prepare(turn_up(read_recording(poses, join), up), fill_ms, smoothed)
    beside = validity_file(out)
    with contextlib.ExitStack() as stack:
        write(stack.enter_context(whole_file(out)), recording)
        if not known.says_all(recording):
            write_validity(stack.enter_context(whole_file(beside)), recording, "missing" in known.silent)
    summary = _summary(out, recording)
    if not known.says_all(recording):
        summary["validity"] = str(beside)
    elif known.silent:
        beside.unlink(missing_ok=True)  # of a file that was there before
    return summary


def prepare(recording: HandRecording, fill_ms: float = 0.0, smoothed: bool = False) -> HandRecording:
    """The recording smoothed, filled and with a hand fitted to every frame: what the formats take.

    What was done to it before stays done; a hand that no hand fits in any frame is left out. Raises UserError where it
    is to be smoothed once more, NoHand where no hand is left.
    """
    hands, fill_ms = recording.hands, float(max(fill_ms, recording.fill_ms))
    if smoothed:
        if recording.smoothed:
            raise UserError(
                "these poses are smoothed already, and a second time would make them surer than they are. Leave "
                "`--smooth` out, or convert the file that the run wrote."
            )
        # What is interpolated was not measured: it follows what it lies between.
        hands = tuple(smooth(without_filled(hand), recording.times_s) for hand in hands)
    if fill_ms:
        hands = tuple(fill_gaps(hand, recording.times_s, fill_ms / 1e3) for hand in hands)
    frames = sum(int(hand.valid.sum()) for hand in hands)
    with tqdm(total=frames, unit="hand", desc="fitting", file=sys.stderr, disable=None) as progress:
        hands = tuple(with_fit(hand, recording.definition, progress.update) for hand in hands)
    alike = [bool(np.isfinite(hand.fit.hinges_rad).any()) for hand in hands]
    unlike = ", ".join(hand.name for hand, fits in zip(hands, alike, strict=True) if not fits)
    if not any(alike):
        raise NoHand(f"{unlike}: these joints are no hand's in any frame, so there is nothing to convert.")
    if unlike:
        log.warning("%s: left out, for these joints are no hand's in any frame", unlike)
    hands = tuple(hand for hand, fits in zip(hands, alike, strict=True) if fits)
    return replace(recording, hands=hands, fill_ms=fill_ms, smoothed=smoothed or recording.smoothed)


def _summary(out: Path, recording: HandRecording) -> dict:
    hands = [
        {
            "name": hand.name,
            "hand": hand.side,
            "track": hand.track_id,
            "frames": int(hand.valid.sum()),
            "filled": int(hand.filled.sum()),
            "gaps": len(hand.gaps()),
            "missing": int((~hand.valid).sum()),
        }
        for hand in recording.hands
    ]
    return {
        "out": str(out),
        "bytes": out.stat().st_size,
        "frames": recording.frames,
        "rate_hz": recording.rate_hz,
        "fill_ms": recording.fill_ms,
        "smoothed": recording.smoothed,
        "up": recording.up_in_rig,
        "hands": hands,
    }
