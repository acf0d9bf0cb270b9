"""`usthand session repair`: what a crash left of a recording, made whole again."""

import argparse
import json
from pathlib import Path

from app.commands.common import add_command
from app.recording.repair import repair_session


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser("session", help="look after recorded sessions")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    repair = add_command(
        actions,
        "repair",
        run,
        "make a session whole after a crash, a power loss or a full disk; the videos are not touched",
        "  usthand session repair session/",
    )
    repair.add_argument("session", type=Path, help="the session's directory")


def run(args: argparse.Namespace) -> int:
    done = repair_session(args.session)
    for note in (*done.notes, *done.remarks):
        print(note)
    print(f"{done.path}: {'repaired' if done.notes else 'nothing to repair'}")
    for camera_id, frames in done.frames.items():
        print(f"  {camera_id}: {frames} frames")
    if args.json:
        summary = {"session": str(done.path), "repaired": bool(done.notes), "frames": done.frames}
        print(json.dumps({**summary, "notes": done.notes, "remarks": done.remarks}))
    return 0
