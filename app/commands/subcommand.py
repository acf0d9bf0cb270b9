"""What every subcommand has. It needs no package beside Python itself, for `doctor` runs where none can be imported."""

import argparse


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
