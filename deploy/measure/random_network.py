"""`python -m deploy.measure.random_network DIR`: an engine directory of an untrained network.

Its config comes as JSON.

What `usthand bench engines` starts for the networks it measures: speed does not depend on the weights. The checkpoint,
from which the engines come, is `checkpoint.safetensors` in the directory.
"""

import argparse
import logging
import sys
from pathlib import Path

import msgspec
import torch

from calibration.programs import exit_code
from deploy.export.onnx_export import export
from deploy.tensorrt.build import build
from models.network.checkpoint import CheckpointInfo, save_checkpoint
from models.network.config import NetworkConfig
from models.network.ust_hand import UstHand

CHECKPOINT = "checkpoint.safetensors"


def make(config: NetworkConfig, directory: Path, tensorrt: bool = False, seed: int = 0) -> int:
    """The checkpoint of a network with the weights that training would begin with, and its engines.

    With `tensorrt` for the GPU of this machine, too. Raises UserError where those cannot be built.
    """
    torch.manual_seed(seed)
    directory.mkdir(parents=True, exist_ok=True)
    save_checkpoint(directory / CHECKPOINT, UstHand(config).state_dict(), CheckpointInfo(config, 0, {}))
    export(str(directory / CHECKPOINT), directory)
    if tensorrt:
        build(directory)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.measure.random_network")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--tensorrt", action="store_true")
    args = parser.parse_args()
    logging.basicConfig(level=logging.ERROR, format="%(message)s", stream=sys.stderr)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    config = msgspec.json.decode(sys.stdin.buffer.read(), type=NetworkConfig)
    return exit_code(lambda: make(config, args.directory, args.tensorrt), place=args.directory)


if __name__ == "__main__":
    sys.exit(main())
