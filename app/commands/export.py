"""`usthand export`: starts the export of a checkpoint in a process of its own, since only it loads torch."""

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

from app.commands.common import add_command
from calibration.errors import UserError


def add_parser(subparsers) -> None:
    parser = add_command(
        subparsers,
        "export",
        run,
        "make an engine directory of a checkpoint: ONNX files that OpenVINO and ONNX Runtime run without torch",
        "  usthand export runs/small/best.safetensors engine --check\n"
        "  usthand live rig.yaml --estimator ust-hand --checkpoint engine",
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a file that `usthand train` wrote, or `shipped`")
    parser.add_argument("directory", type=Path, metavar="DIR", help="where the ONNX files and their manifest go")
    parser.add_argument(
        "--check", action="store_true", help="compare the joints of each installed runtime with torch's; fails if apart"
    )


def run(args: argparse.Namespace) -> int:
    for library in ("torch", "safetensors", "onnx", "onnxscript"):
        if importlib.util.find_spec(library) is None:
            raise UserError(
                f"an export needs {library}, which is not installed. Install the project's extras `train` and `export`."
            )
    flags = [f"--{name}" for name in ("check", "json") if getattr(args, name)]
    command = [sys.executable, "-m", "deploy.export", args.checkpoint, str(args.directory), *flags]
    process = subprocess.Popen(command)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()
        return 1
