"""The command line: one command, `usthand`, with a subcommand per job.

Exit codes: 0 done, 1 failed, 2 bad usage or bad input.
"""

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence

from app.commands.subcommand import CommandParser, add_verbose_flag
from app.run.logs import WithoutPasswords, add_log_file, without_passwords
from calibration.errors import UserError
from calibration.programs import exit_code, say

_COMMANDS = (
    "demo",
    "live",
    "record",
    "replay",
    "latency",
    "convert",
    "batch",
    "session",
    "import_recording",
    "simulate",
    "simulate_crops",
    "board",
    "calibrate",
    "rig",
    "cameras",
    "cache",
    "completion",
    "doctor",
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

_VERBOSE = ("-v", "--verbose")

# Of what `usthand` alone prints: what to do next, for everybody who may have just installed it.
_FIRST_STEPS = """\
UST-Hand live: exact 3D motion of bare hands from two to sixteen cameras. What next?
  you have cameras:  usthand cameras, usthand calibrate rig.yaml --board board.yaml, usthand live rig.yaml
  you have videos:   usthand import VIDEOS session/, usthand calibrate --session session/ --board board.yaml \
--world-frame fit -o session/rig.yaml, usthand replay session/
  you have neither:  usthand demo   (a simulated rig, live; without a screen: usthand demo --headless demo.mp4)
Every command: usthand --help, and usthand COMMAND --help. Something does not work: usthand doctor
"""


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """The parser of all commands, or, which is quicker, of `only` one of these modules."""
    parser = CommandParser(
        prog="usthand", description="Live 3D hands from two to sixteen calibrated cameras: no gloves, no markers."
    )
    add_verbose_flag(parser)
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in _COMMANDS if only is None else (only,):
        importlib.import_module(f"app.commands.{command}").add_parser(subparsers)
    return parser


def _module_of(command: str) -> str | None:
    """The module of a command that is so named."""
    name = {"import": "import_recording"}.get(command, command)
    return name if name in _COMMANDS else None


def _split(command: str, given: Sequence[str]) -> tuple[Sequence[str], list[str]]:
    """What `batch` itself is told, and what stands after `--`: the flags of the job's own command."""
    if command == "batch" and "--" in given:
        at = list(given).index("--")
        return given[:at], list(given[at + 1 :])
    return given, []


def main(arguments: Sequence[str] | None = None) -> int:
    return exit_code(lambda: run(arguments), lambda message: say(without_passwords(message)))


def run(arguments: Sequence[str] | None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    for each in given:
        if not each.isascii() and each != each.encode(errors="replace").decode():
            raise UserError(f"{each.encode(errors='backslashreplace').decode()}: a path that is not UTF-8. Rename it.")
    if not given:
        sys.stdout.write(_FIRST_STEPS)
        return 0
    command = next((each for each in given if each not in _VERBOSE), "")
    if not set(given) & set(_VERBOSE):
        # Else they write lines of their own beside each error; read when OpenCV is loaded, here and in what is started.
        os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    given, after = _split(command, given)
    args = build_parser(_module_of(command)).parse_args(given)
    if after:
        args.job_flags = after
    args.build_parser = build_parser
    verbose = getattr(args, "verbose", False)
    if verbose:
        os.environ["USTHAND_LOG"] = "DEBUG"  # for the processes that it starts
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(WithoutPasswords("%(message)s"))
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[terminal])
    add_log_file(f"usthand-{args.command}")
    code = args.run(args)
    if sys.stdout is not None:
        sys.stdout.flush()
    return code
