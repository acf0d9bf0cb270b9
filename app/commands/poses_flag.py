"""`--poses OUT` of `replay` and `live`: the run writes a pose file, and at its end it becomes what the ending says."""

import argparse
import logging
from pathlib import Path

from app.commands.common import file_name
from app.commands.convert import print_conversion
from app.convert.conversion import convert
from app.convert.formats import FORMATS, check_out, format_of
from app.convert.reading import NoHand
from app.run.supervisor import Outcome
from calibration.errors import UserError, write_error
from calibration.written_files import check_can_write

log = logging.getLogger(__name__)


def add_poses_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--poses",
        type=file_name,
        metavar="OUT",
        help=f"write the poses, by the ending of OUT: {' '.join(FORMATS)} (docs/convert.md)",
    )


def pose_file_of(args: argparse.Namespace) -> str | None:
    """Where the run writes its pose file. Raises UserError where `--poses` cannot be written."""
    if args.poses is None:
        return None
    format_of(args.poses)
    if args.poses.suffix.lower() == ".npz":
        try:
            args.poses.resolve().parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(f"`--poses {args.poses}`: its folder cannot be made ({error.strerror}).", error) from None
    check_can_write(args.poses, f"`--poses {args.poses}`")
    if _kept(args.poses) != args.poses.resolve():
        check_out(args.poses)
    return str(_kept(args.poses))


def convert_poses(args: argparse.Namespace, outcome: Outcome) -> Outcome:
    """Convert the run's pose file, where `--poses` asks for another format, and remove it.

    Where that fails it is said, what the run did is told all the same, and its pose file stays, unless it is empty.
    """
    if args.poses is None or not outcome.summary:
        return outcome
    kept = _kept(args.poses)
    if kept == args.poses.resolve():
        if outcome.summary.get("sets_with_hand") == 0:
            log.warning("%s has no hand in it, for the run saw none. Let two cameras have one in view.", args.poses)
        return outcome
    if not kept.is_file():
        return outcome
    try:
        summary = convert(kept, args.poses.resolve())
    except NoHand:
        log.error("%s was not written, for the run saw no hand. Let two cameras have one in view.", args.poses)
        kept.unlink()
        left = None
    except UserError as error:
        log.error("%s The poses are kept in %s: `usthand convert` takes them.", error, kept)
        left = str(kept)
    else:
        kept.unlink()
        print_conversion(summary)
        outcome.summary["poses"] = summary["out"]
        return outcome
    outcome.summary["poses"] = left
    return Outcome(outcome.exit_code or 1, outcome.summary)


def _kept(out: Path) -> Path:
    """The pose file itself, or the one beside the file to be made of it."""
    return out.resolve() if out.suffix.lower() == ".npz" else out.resolve().with_name(f".{out.name}.npz")
