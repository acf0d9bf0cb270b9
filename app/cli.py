"""The command line: one command, `usthand`, with a subcommand per job.

Exit codes: 0 done, 1 failed, 2 bad usage or bad input.
"""

import argparse
import logging
import sys
from collections.abc import Sequence

from app.commands import bench, board, calibrate, cameras, demo, grab, import_recording, keys, live, replay, rig
from calibration.errors import UserError

_COMMANDS = (demo, live, replay, import_recording, board, calibrate, rig, cameras, grab, keys, bench)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="usthand", description="Live 3D hands from two to eight calibrated cameras: no gloves, no markers."
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_parser(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        return args.run(args)
    except UserError as error:
        print(f"usthand {args.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 1
    except BrokenPipeError:
        return 1
