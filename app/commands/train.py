"""`usthand train`: starts the training of the network in processes of its own, since only they load torch."""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from app.commands.common import add_command, run_child
from calibration.errors import UserError
from models.data.crop_cache import MARGIN
from models.data.session_cache import cache_of
from models.training.arguments import add_arguments, to_words
from models.training.config import EXIT_CODE_FILE, read_train_config


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
    # Here already, before processes start.
    for path in (*config.data.train, *config.data.validation):
        cache_of(Path(path), round(MARGIN * config.network_config().crop_px))
    module = ["-m", "models.training", *to_words(args)]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(args.processes)]
    if args.processes == 1:
        code = run_child([sys.executable, *module])
    else:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "code"
            code = run_child([sys.executable, *launcher, *module], {EXIT_CODE_FILE: str(file)}, _torchrun_told)
            code = int(file.read_text()) if file.exists() else code
    if args.json and not code:
        output = args.output or Path(config.output)
        info = json.loads((output / "last.json").read_text())
        print(json.dumps({"output": str(output), "step": info["step"], "steps": config.steps}))
    return code


def _torchrun_told(torchrun: subprocess.Popen) -> list[psutil.Process]:
    """The processes that train, which save and end; it would end with a traceback."""
    process = psutil.Process(torchrun.pid)
    return process.children() or [process]
