"""`usthand train`: starts the training of the network in processes of its own, since only they load torch."""

import argparse
import importlib.util
import json
import os
import socket
import sys
from pathlib import Path

import msgspec

from app.commands.common import add_command
from calibration.errors import UserError
from calibration.found_files import read_found
from calibration.plain_json import parse_json
from calibration.programs import run_program
from models.data.crop_cache import MARGIN
from models.data.session_cache import cache_of
from models.training.arguments import add_arguments, to_words
from models.training.config import read_train_config


def add_parser(subparsers) -> None:
    parser = add_command(
        subparsers,
        "train",
        run,
        "train the network from 2D labels, with the settings of a YAML file",
        "  usthand simulate-crops data/train --people 100\n"
        "  usthand train small.yaml              # Ctrl-C saves and ends\n"
        "  usthand train small.yaml --resume\n"
        "  tensorboard --logdir runs             # the curves and pictures of the runs",
    )
    add_arguments(parser)
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="one for each GPU (default: 1)")


def run(args: argparse.Namespace) -> int:
    if args.processes < 1:
        raise UserError(f"`--processes {args.processes}`: give 1 or more.")
    for library in ("torch", "safetensors", "tensorboard"):
        if importlib.util.find_spec(library) is None:
            raise UserError(f"training needs {library}, which is not installed. Install the project's extra `train`.")
    config = read_train_config(args.config, args.without)
    network = config.network_config()
    # Here already, before processes start.
    for path in (*config.data.train, *config.data.validation):
        cache_of(Path(path), round(MARGIN * network.crop_px), network.landmarks)
    code = run_program([sys.executable, "-m", "models.training", *to_words(args)], _environments(args.processes))
    if args.json and not code:
        output = args.output or Path(config.output)
        print(json.dumps({"output": str(output), "step": _last_step(output), "steps": config.steps}))
    return code


class _Last(msgspec.Struct):
    step: int


def _last_step(output: Path) -> int:
    path = output / "last.json"
    try:
        return parse_json(read_found(path), _Last).step
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: does not say at which step the training ended ({error}). Is something else writing into {output}?"
        ) from None


def _environments(processes: int) -> list[dict[str, str]]:
    """By which torch's processes find each other, as its launcher `torchrun` gives them, of which any other exit code
    than 0 comes back as a traceback and 1."""
    if processes == 1:
        return [{}]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", "1")
    return [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]
