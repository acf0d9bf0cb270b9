"""`usthand import`: a recording of another program becomes a session."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from app.commands.common import add_command, positive
from app.syncing.methods import METHODS, SyncMethod
from calibration.errors import UserError, pasted
from calibration.importers import LAYOUTS, import_recording
from calibration.importers.recording import FROM_RATE, ForeignRecording
from calibration.recorded_period import recorded_period_ns
from calibration.session import Session

if TYPE_CHECKING:
    from app.syncing.synchronise import Synchronisation


def add_parser(subparsers) -> None:
    parser = add_command(
        subparsers,
        "import",
        run,
        "turn videos, or a recording of caliscope, FreeMoCap or Pose2Sim, into a session",
        "  usthand import caliscope_workspace/recordings/hands sessions/hands\n  usthand replay sessions/hands\n"
        "  usthand import folder_of_videos sessions/board                     (to be calibrated)\n"
        "  usthand calibrate --session sessions/board --board board.yaml --world-frame fit "
        "-o sessions/board/rig.yaml",
    )
    parser.add_argument(
        "folder",
        type=Path,
        metavar="DIR",
        help="the recording: videos, and times and calibration where there are",
    )
    parser.add_argument("session", type=Path, metavar="SESSION", help="the directory to make")
    parser.add_argument("--layout", choices=LAYOUTS, default="auto", help="whose layout DIR has (default: found out)")
    parser.add_argument("--copy", action="store_true", help="copy the videos instead of linking to them")
    parser.add_argument("--calibration", "--rig", type=Path, metavar="FILE", help="use this calibration, in any format")
    parser.add_argument(
        "--unit-mm",
        type=positive,
        metavar="N",
        help="millimetres in one unit of the calibration's lengths, where it does not tell",
    )
    parser.add_argument(
        "--sync",
        choices=("auto", *METHODS, "none"),
        help="what tells when videos without time stamps began: auto tries sound, flash and motion; none: all at once "
        "(default: auto for a bare folder of videos, else none; none also where auto finds nothing)",
    )
    parser.add_argument("--force", action="store_true", help="replace a session that came from another recording")


def run(args: argparse.Namespace) -> int:
    notes: list[str] = []
    found: list[Synchronisation] = []

    def retime(recording: ForeignRecording) -> ForeignRecording:
        synchronisation = _synchronise(recording, args.sync, notes)
        if synchronisation is None:
            return recording
        from app.syncing.synchronise import with_begins

        found.append(synchronisation)
        return with_begins(recording, synchronisation)

    with tqdm(desc="videos", disable=None if args.copy else True, file=sys.stderr, unit="") as progress:
        session = import_recording(
            args.folder,
            args.session,
            args.layout,
            calibration=args.calibration,
            unit_mm=args.unit_mm,
            copy=args.copy,
            force=args.force,
            retime=retime,
            on_video=lambda camera_id: progress.update(),
            on_note=notes.append,
        )
    summary = _summary(session, notes)
    print(
        f"{session.path}: {len(session.camera_ids)} cameras, {summary['frames']} frames, {summary['seconds']} s, "
        f"from {session.source}"
    )
    for note in notes:
        print(note)
    if session.calibrated:
        print(f"Play it with: usthand replay {pasted(session.path)}")
    else:
        folder, rig = pasted(session.path), pasted(session.path / "rig.yaml")
        print(f"Calibrate it with: usthand calibrate --session {folder} --board board.yaml --world-frame fit -o {rig}")
    if args.json:
        print(json.dumps(summary | {"sync": _sync_summary(found[0]) if found else None}))
    return 0


def _synchronise(recording: ForeignRecording, sync: str | None, notes: list[str]) -> "Synchronisation | None":
    """When the videos began; None where they are taken to begin at once, or have times of their own.

    Raises UserError where `--sync` asks for what cannot be told.
    """
    timed = recording.clock != FROM_RATE
    if timed and sync not in (None, "none"):
        raise UserError(
            f"`--sync {sync}`: this recording has time stamps ({recording.times_file}), which are more exact. Leave "
            "`--sync` out, or remove the time stamps."
        )
    # caliscope always writes time stamps: without them, videos that are called as its are a bare folder.
    bare = recording.source.startswith(("videos ", "caliscope "))
    if timed or sync == "none" or (sync is None and not bare):
        return None
    # It takes a second to import.
    from app.syncing.synchronise import synchronise

    methods: tuple[SyncMethod, ...] = METHODS if sync in (None, "auto") else (sync,)  # type: ignore[assignment]
    try:
        found = synchronise(recording, methods)
    except UserError as error:
        if sync is not None:
            raise
        notes.append(f"All videos are taken to begin at once. {error}")
        return None
    notes.append(found.said())
    return found


def _sync_summary(found: "Synchronisation") -> dict:
    return {
        "method": found.method,
        "begin_ms": {name: round(value * 1e3, 3) for name, value in found.begin_s.items()},
        "error_ms": {name: round(value * 1e3, 3) for name, value in found.error_s.items()},
        "distinctness": round(found.distinctness, 3),
    }


def _summary(session: Session, notes: list[str]) -> dict:
    times = {camera_id: session.frame_times_ns(camera_id) for camera_id in session.camera_ids}
    span_ns = max(int(values[-1]) for values in times.values()) - min(int(values[0]) for values in times.values())
    period_ns = recorded_period_ns(list(times.values()))
    return {
        "session": str(session.path),
        "source": session.source,
        "rig_id": session.rig.rig_id if session.calibrated else None,
        "cameras": {
            camera_id: {"frames": len(times[camera_id]), "video": str(session.video_path(camera_id))}
            for camera_id in session.camera_ids
        },
        "frames": sum(len(values) for values in times.values()),
        "seconds": round(span_ns / 1e9, 3),
        "fps": None if period_ns is None else round(1e9 / period_ns, 3),
        "calibrated": session.calibrated,
        "times": session.clock,
        "notes": notes,
    }
