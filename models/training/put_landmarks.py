"""`python -m models.training.put_landmarks CHECKPOINT WEIGHTS SHARE OUT`: a checkpoint with another landmark network.

The network of CHECKPOINT, recipe `live`, gets a landmark network that is SHARE of the way from its own to that of
WEIGHTS, and is written to OUT. Where WEIGHTS has heatmaps (models/training/heatmaps.py), they come as they are, and
their points become the 2D estimates.
"""

import argparse
import logging
import sys
from pathlib import Path

import msgspec

from calibration.errors import UserError
from calibration.programs import exit_code, finite
from models.network.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from models.network.landmark_net import INSIDE, HeatmapLandmarkNet, LandmarkNet, read_landmark_net
from models.network.ust_hand import UstHand


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m models.training.put_landmarks")
    parser.add_argument("checkpoint")
    parser.add_argument("weights", type=Path)
    parser.add_argument("share", type=finite)
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
    put = read_landmark_net(args.weights)
    config = msgspec.structs.replace(info.network, landmark_heatmaps=isinstance(put, HeatmapLandmarkNet))
    before, after, whole = backbone.state_dict(), put.state_dict(), UstHand(config)
    for name, value in after.items():
        if name in before and not name.startswith("heatmap_head."):
            after[name] = before[name].lerp(value, args.share)
    outside = {name: value for name, value in network.state_dict().items() if not name.startswith(INSIDE)}
    whole.load_state_dict(outside | {f"{INSIDE}{name}": value for name, value in after.items()})
    provenance = info.provenance | {"adapted": {"share": args.share}}
    save_checkpoint(args.out, whole.state_dict(), CheckpointInfo(config, info.step, provenance), half=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
