"""`usthand export`: starts the export of a checkpoint in a process of its own, since only it loads torch."""

import argparse
import sys

from app.commands.common import add_command
from calibration.errors import UserError
from calibration.programs import run_program
from deploy.artefact.cached_export import missing_to_export
from deploy.export.arguments import add_arguments, to_words


def add_parser(subparsers) -> None:
    parser = add_command(
        subparsers,
        "export",
        run,
        "make an engine directory of a checkpoint: ONNX files that OpenVINO and ONNX Runtime run without torch, and "
        "TensorRT engines",
        "  usthand export runs/small/best.safetensors engine --check\n"
        "  usthand export shipped engine --tensorrt --compute-capability 8.9\n"
        "  usthand live rig.yaml --estimator ust-hand --checkpoint engine",
    )
    add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    if args.compute_capability and not args.tensorrt:
        raise UserError("`--compute-capability` says what to build TensorRT engines for. Give `--tensorrt`, too.")
    for library in missing_to_export():
        raise UserError(
            f"an export needs {library}, which is not installed. Install the project's extras `train` and `export`."
        )
    command = [sys.executable, "-m", "deploy.export", *to_words(args), *(["--json"] if args.json else [])]
    return run_program(command)
