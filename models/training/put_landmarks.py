"""`python -m models.training.put_landmarks CHECKPOINT WEIGHTS SHARE OUT`: a checkpoint with another landmark network.

The network of CHECKPOINT, recipe `live`, gets a landmark network that is SHARE of the way from its own to that of
WEIGHTS, and is written to OUT.
"""

import argparse
import logging
import sys
from pathlib import Path

import msgspec

from calibration.errors import UserError
from calibration.programs import exit_code
from models.network.checkpoint import load_checkpoint, save_checkpoint
from models.network.landmark_net import LandmarkNet, read_landmark_net


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m models.training.put_landmarks")
    parser.add_argument("checkpoint")
    parser.add_argument("weights", type=Path)
    parser.add_argument("share", type=float)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return exit_code(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    network, info = load_checkpoint(args.checkpoint)
    backbone = network.stage1.backbone
    if not isinstance(backbone, LandmarkNet):
        raise UserError(
            f"{args.checkpoint}: recipe `{info.network.recipe}` has no landmark network. Give one of `live`."
        )
    before, after = backbone.state_dict(), read_landmark_net(args.weights).state_dict()
    backbone.load_state_dict({name: value.lerp(after[name], args.share) for name, value in before.items()})
    provenance = info.provenance | {"adapted": {"share": args.share}}
    save_checkpoint(args.out, network.state_dict(), msgspec.structs.replace(info, provenance=provenance), half=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
