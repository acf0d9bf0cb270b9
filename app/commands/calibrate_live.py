"""`usthand calibrate RIG`: the wizard on live cameras, then the calibration from what it captured."""

import argparse
import datetime
import json
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from app.commands.calibrate_summary import print_result, result_summary, write_files
from app.commands.common import check_live_rig, run_rig
from app.commands.printed_board import read_printed_board
from app.run.policy import LivePolicy, ReplayPolicy
from app.run.settings import RunSettings
from app.transport.keys import Keys
from app.transport.sockets import check_listen
from app.wizard.recorder import JOURNAL, Recorder
from calibration.board.board import Board
from calibration.camera_source import RecordedSource
from calibration.errors import UserError, pasted
from calibration.rig import Rig, read_uncalibrated_rig, rig_file
from calibration.solve.calibrate import calibrate
from calibration.wizard.journal import JournalContent, read_journal
from calibration.wizard.wizard import Wizard


def run_wizard(args: argparse.Namespace) -> int:
    """Open the wizard on the cameras of `args.rig` and calibrate from its captures.

    Takes `rig`, `board`, `output`, `report`, `resume`, `json` and, where they exist, `listen` and `keys`. Without
    `output` the rig file itself is replaced, and its older version kept beside it.
    """
    from app.wizard.window import check_screen

    rig = read_uncalibrated_rig(args.rig)
    check_cameras(rig, args)
    board = _board(args)
    rig_path = rig_file(args.rig)
    output = args.output or rig_path
    check_screen()
    folder = args.resume or output.resolve().parent / f"captures-{datetime.datetime.now():%Y-%m-%d-%H%M%S}"
    left_out = Recorder(folder, rig, board).left_out
    if left_out:
        print(f"{args.rig} has no {', '.join(left_out)}: the captures go on without what was seen there.")
    keys = getattr(args, "keys", None)
    # Recorded cameras have one start and the times of the recording; they wait for the wizard.
    recorded = all(isinstance(camera.source, RecordedSource) for camera in rig.cameras)
    settings = RunSettings(
        estimator="none",
        policy=ReplayPolicy() if recorded else LivePolicy(),
        listen=getattr(args, "listen", None),
        keys=str(keys.resolve()) if keys else None,
        wizard=str(folder.resolve()),
    )
    outcome = run_rig(rig, settings, None)
    content = read_journal(folder / JOURNAL).of_cameras(rig.camera_ids)
    if outcome.exit_code or outcome.summary.get("outcome") != "calibrate":
        return _report_kept(args, folder, content, output, outcome.exit_code)
    return _calibrate(args, rig, board, folder, content, output)


def check_cameras(rig: Rig, args: argparse.Namespace) -> None:
    """Raise UserError for a camera of `args.rig` that cannot be opened with these flags."""
    listen, keys = getattr(args, "listen", None), getattr(args, "keys", None)
    check_live_rig(rig, args.rig, or_recorded=True)
    for camera in rig.cameras:
        if camera.remote and not listen:
            raise UserError(
                f"{args.rig}: {camera.camera_id} is remote. Give `--listen tcp://HOST:PORT` for its grabber."
            )
    if listen:
        check_listen(listen, Keys(keys) if keys else None, of_grabbers=True)


def _board(args: argparse.Namespace) -> Board:
    """As given, else that of the resumed captures."""
    if args.resume is not None and not (args.resume / JOURNAL).is_file():
        raise UserError(
            f"`--resume {args.resume}`: holds no captures of a calibration: no {JOURNAL}. Give the folder that the "
            "interrupted calibration named, or leave `--resume` out."
        )
    if args.board is not None:
        return read_printed_board(args.board)
    if args.resume is not None:
        return read_printed_board(args.resume / "board.yaml")
    raise UserError("no `--board`. Give the board.yaml of the printed board; `usthand board` draws one and writes it.")


def _report_kept(args: argparse.Namespace, folder: Path, content: JournalContent, output: Path, exit_code: int) -> int:
    """Not calibrated: say where the captures are."""
    count = len(content.captures)
    print(f"{count} capture{'s' if count != 1 else ''} kept in {folder}")
    print(f"Go on:     {_resume_command(args, folder)}")
    if len(content.image_size) > len(_unseen(content)) + 1:
        print(f"Calibrate: {_session_command(folder, content, output)}")
    if args.json:
        print(json.dumps({"captures": count, "session": str(folder), "verdict": None}))
    return exit_code


def _resume_command(args: argparse.Namespace, folder: Path) -> str:
    """As the wizard was called, to go on with its captures."""
    words = ["usthand", "calibrate", args.rig, "--resume", folder]
    for flag in ("output", "report", "listen", "keys"):
        value = getattr(args, flag, None)
        words += [] if value is None else [f"--{flag}", value]
    return shlex.join(map(str, words))


def _session_command(folder: Path, content: JournalContent, output: Path) -> str:
    """To calibrate from the captured images: the cameras that saw the board, beside the rig where some did not."""
    unseen = len(_unseen(content))
    if unseen:
        output = output.with_name(f"{output.stem}-of-{len(content.image_size) - unseen}-cameras{output.suffix}")
    return f"usthand calibrate --session {pasted(folder)} -o {pasted(output)} --report report.html"


def _unseen(content: JournalContent) -> list[str]:
    """The cameras without a view of the board."""
    seen = {camera_id for capture in content.captures for views in capture.sets for camera_id in views}
    return [camera_id for camera_id in content.image_size if camera_id not in seen]


def _calibrate(
    args: argparse.Namespace, rig: Rig, board: Board, folder: Path, content: JournalContent, output: Path
) -> int:
    started = time.perf_counter()
    wizard = Wizard(board, content.image_size)
    wizard.restore(content.captures)
    inverted: Sequence[str] = content.facts.get("inverted", ())
    detections = wizard.detections(
        legacy=content.facts.get("legacy"),
        inverted=board.inverted != (2 * len(inverted) > len(rig.cameras)),
        mirrored=content.facts.get("mirrored", ()),
    )
    try:
        result = calibrate(detections, board, given_rig=rig)
    except UserError as error:
        unseen = _unseen(content)
        kept = f"The captures are kept: go on with `{_resume_command(args, folder)}`"
        if unseen and len(unseen) < len(rig.cameras) - 1:
            kept += f", or without {', '.join(unseen)}: `{_session_command(folder, content, output)}`"
        raise UserError(f"{error} {kept}.") from None
    words = ["usthand", "calibrate", "--session", folder, "-o", output, "--report", args.report]
    command = shlex.join(map(str, words))
    summary = result_summary(result, detections)
    summary |= write_files(result, detections, output=output, report=args.report, session=folder, command=command)
    summary |= {
        "seconds": round(time.perf_counter() - started, 3),
        "captures": len(content.captures),
        "session": str(folder),
    }
    print_result(summary)
    if result.verdict != "poor":
        print(f"Use it: usthand live {pasted(output)}")
    print(f"captures: {folder}")
    if args.json:
        print(json.dumps(summary, allow_nan=False))
    return 0
