"""The command line: one command, `usthand`, with a subcommand per job.

Exit codes: 0 done, 1 failed, 2 bad usage or bad input.
"""

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence

from calibration.errors import UserError
from calibration.programs import exit_code

_COMMANDS = (
    "demo",
    "live",
    "record",
    "replay",
    "convert",
    "session",
    "import_recording",
    "simulate",
    "simulate_crops",
    "board",
    "calibrate",
    "rig",
    "cameras",
    "grab",
    "keys",
    "label",
    "train",
    "adapt",
    "evaluate",
    "validate",
    "export",
    "bench",
)


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """The parser of all commands, or, which is quicker, of `only` one of these modules."""
    parser = argparse.ArgumentParser(
        prog="usthand", description="Live 3D hands from two to eight calibrated cameras: no gloves, no markers."
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in _COMMANDS if only is None else (only,):
        importlib.import_module(f"app.commands.{command}").add_parser(subparsers)
    return parser


def _module_of(command: str) -> str | None:
    """The module of a command that is so named."""
    name = {"import": "import_recording"}.get(command, command)
    return name if name in _COMMANDS else None


def main(arguments: Sequence[str] | None = None) -> int:
    return exit_code(lambda: run(arguments))


def run(arguments: Sequence[str] | None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    for each in given:
        if not each.isascii() and each != each.encode(errors="replace").decode():
            raise UserError(f"{each.encode(errors='backslashreplace').decode()}: a path that is not UTF-8. Rename it.")
    args = build_parser(_module_of(given[0]) if given else None).parse_args(given)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    code = args.run(args)
    if sys.stdout is not None:
        sys.stdout.flush()
    return code
