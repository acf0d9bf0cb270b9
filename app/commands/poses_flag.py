"""`--poses OUT` of `replay` and `live`: the run writes a pose file, and at its end it becomes what the ending says."""

import argparse
from pathlib import Path

from app.commands.convert import print_conversion
from app.convert.conversion import convert
from app.convert.formats import FORMATS, check_out, format_of
from app.run.supervisor import Outcome
from calibration.errors import UserError


def add_poses_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--poses",
        type=Path,
        metavar="OUT",
        help=f"write the poses, by the ending of OUT: {' '.join(FORMATS)} (docs/convert.md)",
    )


def pose_file_of(args: argparse.Namespace) -> str | None:
    """Where the run writes its pose file. Raises UserError where `--poses` cannot be written."""
    if args.poses is None:
        return None
    format_of(args.poses)
    if args.poses.is_dir():
        raise UserError(f"`--poses {args.poses}` is a folder. Give the name of a file.")
    if _kept(args.poses) != args.poses.resolve():
        check_out(args.poses)
    return str(_kept(args.poses))


def convert_poses(args: argparse.Namespace, outcome: Outcome) -> None:
    """Convert the run's pose file, where `--poses` asks for another format, and remove it.

    Raises UserError where that fails; then the pose file stays, and the error says where.
    """
    if args.poses is None or not outcome.summary or _kept(args.poses) == args.poses.resolve():
        return
    kept = _kept(args.poses)
    if not kept.is_file():
        return
    try:
        summary = convert(kept, args.poses.resolve())
    except UserError as error:
        raise type(error)(f"{error} The poses are kept in {kept}: `usthand convert` takes them.") from None
    kept.unlink()
    print_conversion(summary)
    outcome.summary["poses"] = summary["out"]


def _kept(out: Path) -> Path:
    """The pose file itself, or the one beside the file to be made of it."""
    return out.resolve() if out.suffix == ".npz" else out.resolve().with_name(f".{out.name}.npz")
