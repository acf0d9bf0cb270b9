"""Whether a network's probabilities are those of what happens: of a hand in a view's crop, and of its side.

On crops of hands whose truth is known: as they are, mirrored, which shows the other side, and with the hand hidden
(models/data/handless.py). The expected calibration error is the mean distance between what was said and how often it
was so, over bins of what was said (M. Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning",
AAAI 2015).
"""

from typing import NamedTuple

import numpy as np
import torch

from models.data.handless import without_hand
from models.data.windows import WindowDataset
from models.network.ust_hand import UstHand, draw_latents

BINS = 10
_BATCH = 16
_SEED = 21
_LABELLED = 15


class Said(NamedTuple):
    """Probabilities (n,) and what was true (n,) bool."""

    probability: np.ndarray
    true: np.ndarray


def reliability(said: Said) -> dict:
    """`expected_calibration_error`, `brier` (the mean square error), `wrong` (the share on the wrong side of 0.5), `n`,
    and by bin what was said in the mean, how often it was so, and of how many."""
    probability, true = said.probability, said.true.astype(float)
    place = np.clip((BINS * probability).astype(int), 0, BINS - 1)
    bins = [
        {"said": float(probability[place == index].mean()), "was": float(true[place == index].mean()),
         "n": int((place == index).sum())}
        for index in range(BINS) if (place == index).any()
    ]  # fmt: skip
    return {
        "expected_calibration_error": sum(each["n"] * abs(each["said"] - each["was"]) for each in bins) / len(true),
        "brier": float(np.square(probability - true).mean()),
        "wrong": float(((probability >= 0.5) != (true >= 0.5)).mean()),
        "n": len(true),
        "bins": bins,
    }


def judged(network: UstHand, data: WindowDataset, numbers: np.ndarray, views: int, seed: int = 0) -> tuple[Said, Said]:
    """What the network says of presence and of the side, of the newest frame's crops of the windows `numbers` (n,).

    Nothing where no crop has labels enough to hide its hand."""
    crops, there, right = _crops(data, numbers, views, seed)
    if not len(crops):
        none = Said(np.zeros(0), np.zeros(0, bool))
        return none, none
    presence, side = say(network, crops)
    return Said(presence, there), Said(side[there], right[there])


@torch.no_grad()
def say(network: UstHand, crops_rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N,) of a hand and of its being a right one, of crops (N, S, S, 3), each seen alone."""
    found = []
    P_crop = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    for start in range(0, len(crops_rgb), _BATCH):
        crops = torch.from_numpy(crops_rgb[start : start + _BATCH])[:, None]
        count = len(crops)
        latents = draw_latents(network.config, 1, 1, _SEED).expand(count, -1, -1, -1)
        out = network.stage1(crops, P_crop.expand(count, 1, -1, -1), torch.ones(count, 1, dtype=torch.bool), latents)
        found.append(torch.stack([out.presence[:, 0], out.right[:, 0]], 1))
    presence, side = torch.cat(found).double().numpy().T
    return presence, side


def _crops(
    data: WindowDataset, numbers: np.ndarray, views: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Crops (N, S, S, 3), whether a hand is to be seen in each (N,) and whether it is a right one (N,)."""
    random = np.random.default_rng([seed, 71])
    crops, there, right = [], [], []
    for number in numbers:
        item = data[(int(number), 0, views)]
        for view in torch.nonzero(item["view_mask"][-1]).flatten().tolist():
            labelled = item["label_confidence"][-1, view] > 0
            if int(labelled.sum()) < _LABELLED:
                continue
            crop = item["crops_rgb"][-1, view].numpy()
            keypoints_px = item["labels_px"][-1, view][labelled].double().numpy()
            crops += [crop, np.ascontiguousarray(crop[:, ::-1]), without_hand(crop, keypoints_px, random)]
            there += [True, True, False]
            right += [True, False, False]
    return np.array(crops), np.array(there, bool), np.array(right, bool)
