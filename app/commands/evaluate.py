"""`usthand evaluate`: the accuracy of a checkpoint, on data with truth and on recorded sessions without.

Data with truth is evaluated in a process of its own, since only it loads torch; footage in this one, through the same
estimators and engines as in live use.
"""

import argparse
import importlib.util
import json
import logging
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

from app.commands.common import add_command
from app.commands.evaluate_footage import FOOTAGE_OPTIONS, add_footage_arguments, footage_figures
from app.evaluation.tables import page, text_tables, with_sections
from calibration.arguments import words
from calibration.errors import UserError, reason_of
from calibration.found_files import read_found_text
from calibration.programs import run_program
from calibration.written_files import check_can_write, write_atomic
from models.evaluation.arguments import add_arguments, to_words

log = logging.getLogger(__name__)

_CROP_OPTIONS = ("views", "labels", "ablate", "windows", "seed")
_OF_BOTH = ("windows", "seed")
"""Options of crops with which a simulated session is evaluated as footage, too."""


def add_parser(subparsers) -> None:
    parser = add_command(
        subparsers,
        "evaluate",
        run,
        "measure a checkpoint: with truth beside plain triangulation (DLT), on recorded sessions beside MediaPipe",
        "  usthand simulate-crops data/test --split test --people 20 --views 8 --upright --size 224\n"
        "  usthand evaluate --data data/test --report evaluation.html\n"
        "  usthand evaluate --checkpoint runs/small/best.safetensors --data data/plain --views 2 --labels noisy\n"
        "  usthand evaluate --data session/ another_session/ --board board.yaml --json",
    )
    add_arguments(parser)
    add_footage_arguments(parser)


def run(args: argparse.Namespace) -> int:
    crops, footage = _what(args)
    if args.report:
        check_can_write(args.report, f"`--report {args.report}`")
    if not footage:
        return run_program(_crops_command(args, args.json))
    figures: dict[str, Any] = {}
    if crops:
        with tempfile.TemporaryFile() as printed:
            code = run_program(_crops_command(args, True), stdout=printed)
            printed.seek(0)
            *lines, last = printed.read().decode().splitlines() or [""]
        if code:
            return code
        print("\n".join(lines), flush=True)
        figures = json.loads(last)
    try:
        command = shlex.join(["usthand", "evaluate", *_all_words(args)])
        figures = {"command": command} | figures | footage_figures(args)
    except UserError as error:
        if not crops:
            raise
        log.warning("as footage, without its truth, it cannot be evaluated: %s", error)
    if "real" in figures:
        print(text_tables(figures), end="")
        if args.report:
            text = with_sections(_report(args.report), figures) if crops else page(figures)
            write_atomic(args.report, text.encode())
            log.info("%s", args.report)
    if args.json:
        print(json.dumps(figures, allow_nan=False))
    return 0


def _report(path: Path) -> str:
    """What the evaluation with truth wrote. Raises UserError where it cannot be read."""
    try:
        return read_found_text(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"`--report {path}`: cannot be read again ({reason_of(error)}). Give the name of a new file."
        ) from None


def _what(args: argparse.Namespace) -> tuple[bool, bool]:
    """Whether crops with truth are to be evaluated, and whether footage: both of a simulated session.

    Raises UserError for flags that do not fit the data or one another.
    """
    if len({path.resolve() for path in args.data}) < len(args.data):
        raise UserError("`--data`: one of them is named twice. Name each once.")
    of_footage = [name for name in FOOTAGE_OPTIONS if getattr(args, name) is not None]
    of_crops = [name for name in _CROP_OPTIONS if getattr(args, name) is not None]
    if of_footage and of_crops:
        raise UserError(
            f"`--{of_crops[0]}` is of data with truth and `--{of_footage[0]}` of recorded footage. Give one of them."
        )
    others = [path for path in args.data if not _is_session(path)]
    if others:
        if of_footage:
            raise UserError(
                f"`--{of_footage[0]}`: {others[0]} is no recorded session (it has no session.yaml). "
                "Make one with `usthand import DIR SESSION`."
            )
        return True, False
    with_truth = all((path / name).is_file() for path in args.data for name in ("labels.npz", "truth.npz"))
    only_crops = [name for name in of_crops if name not in _OF_BOTH]
    crops = bool(only_crops) or (with_truth and len(args.data) == 1 and not of_footage)
    if of_crops and not crops:
        raise UserError(
            f"`--{of_crops[0]}` is of data with truth, and what is evaluated here is footage. Leave it out, or give "
            "what `usthand simulate-crops` made."
        )
    return crops, not only_crops


def _is_session(path: Path) -> bool:
    return (path / "session.yaml").is_file() and not (path / "manifest.json").is_file()


def _crops_command(args: argparse.Namespace, as_json: bool) -> list[str]:
    for library in ("torch", "safetensors"):
        if importlib.util.find_spec(library) is None:
            raise UserError(
                f"an evaluation needs {library}, which is not installed. Install the project's extra `train`."
            )
    return [sys.executable, "-m", "models.evaluation", *to_words(args), *(["--json"] if as_json else [])]


def _all_words(args: argparse.Namespace) -> list[str]:
    return words(args, ("checkpoint", "data", *_OF_BOTH, *FOOTAGE_OPTIONS, "report"))
