"""`usthand keys`: CURVE keys for grabbers on other machines."""

import argparse
import json
from pathlib import Path

from app.commands.common import add_command
from app.transport.keys import make_keys


def add_parser(subparsers) -> None:
    parser = add_command(
        subparsers,
        "keys",
        run,
        "make the keys with which remote grabbers and the worker know each other",
        "  usthand keys keys/\n  (copy worker.key and grabber.key_secret to the machines that grab)",
    )
    parser.add_argument("folder", type=Path, help="where to write them")


def run(args: argparse.Namespace) -> int:
    make_keys(args.folder)
    print(f"{args.folder}: keys written. The machines that grab need worker.key and grabber.key_secret.")
    if args.json:
        print(json.dumps({"keys": str(args.folder)}))
    return 0
