"""What every subcommand has. It needs no package beside Python itself, for `doctor` runs where none can be imported."""

import argparse
from typing import Any

from calibration.errors import did_you_mean


class CommandParser(argparse.ArgumentParser):
    """A parser whose errors name the command or flag that was meant, and come from the command that they are of."""

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[override]
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            near = did_you_mean(unknown[0].partition("=")[0], self._option_string_actions)
            self.error(f"unrecognized arguments: {' '.join(unknown)}{near}")
        return parsed, unknown

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if isinstance(action.choices, range) and value not in action.choices:
            ends = f"{action.choices[0]} to {action.choices[-1]}"  # not each: of pixels there are thousands
            raise argparse.ArgumentError(action, f"invalid choice: {value!r} (choose from {ends})")
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            near = did_you_mean(str(value), map(str, action.choices or ()))
            raise argparse.ArgumentError(action, f"{error.message}{near}") from None


def add_command(subparsers, name: str, run, help: str, example: str) -> argparse.ArgumentParser:
    """A subcommand with its flags `--json` and `--verbose`."""
    parser = subparsers.add_parser(
        name,
        help=help,
        description=help,
        epilog=f"example:\n{example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print one machine-readable object as the last line")
    add_verbose_flag(parser)
    parser.set_defaults(run=run)
    return parser


def add_verbose_flag(parser: argparse.ArgumentParser) -> None:
    # No default: the flag may stand before the command, or after it.
    parser.add_argument(
        "-v", "--verbose", action="store_true", default=argparse.SUPPRESS, help="log what helps to find a fault, too"
    )
