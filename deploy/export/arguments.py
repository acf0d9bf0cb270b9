"""The arguments of an export, for the command line and for the process that it starts. Loads no torch."""

import argparse
from pathlib import Path

from calibration.arguments import words


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All but `--json`."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a file that `usthand train` wrote, or `shipped`")
    parser.add_argument("directory", type=Path, metavar="DIR", help="where the ONNX files and their manifest go")
    parser.add_argument(
        "--check", action="store_true", help="compare the joints of each installed runtime with torch's; fails if apart"
    )
    parser.add_argument(
        "--tensorrt", action="store_true", help="build TensorRT engines, too; TensorRT for RTX needs no GPU"
    )
    parser.add_argument(
        "--compute-capability",
        nargs="+",
        metavar="X.Y",
        help="the GPUs to build for (default: 8.6 8.9 12.0 with TensorRT for RTX, else the GPU of this machine)",
    )


def to_words(args: argparse.Namespace) -> list[str]:
    """The same arguments as words."""
    return [args.checkpoint, str(args.directory), *words(args, ("check", "tensorrt", "compute_capability"))]
