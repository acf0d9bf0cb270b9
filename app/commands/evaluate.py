"""`usthand evaluate`: starts the evaluation of a checkpoint in a process of its own, since only it loads torch."""

import argparse
import importlib.util
import sys

from app.commands.common import add_command, run_child
from calibration.errors import UserError
from models.evaluation.arguments import add_arguments, to_words


def add_parser(subparsers) -> None:
    parser = add_command(
        subparsers,
        "evaluate",
        run,
        "measure a checkpoint on simulated data, beside plain triangulation (DLT) of the same labels",
        "  usthand simulate-crops data/test --split test --people 20 --views 8\n"
        "  usthand evaluate --data data/test --report evaluation.html\n"
        "  usthand evaluate --checkpoint runs/small/best.safetensors --data data/test --views 2 --labels noisy --json",
    )
    add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    for library in ("torch", "safetensors"):
        if importlib.util.find_spec(library) is None:
            raise UserError(
                f"an evaluation needs {library}, which is not installed. Install the project's extra `train`."
            )
    command = [sys.executable, "-m", "models.evaluation", *to_words(args), *(["--json"] if args.json else [])]
    return run_child(command)
