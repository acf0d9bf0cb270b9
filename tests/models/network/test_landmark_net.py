"""The torch module against what MediaPipe's own file says of the same images, as recorded from it."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from models.network.landmark_features import Sightings, sight
from models.network.landmark_net import IMAGE_PX, LandmarkNet
from models.tools.landmark_weights import read_onnx
from models.weights import mediapipe_model

RECORDED = Path(__file__).parents[2] / "data" / "hand_landmark_full.json"


def images_rgb() -> np.ndarray:
    """(3, 224, 224, 3): smooth noise, a drawn hand, the same far away and upside down."""
    noise = np.random.default_rng(7).uniform(0, 255, (14, 14, 3)).astype(np.float32)
    noise = cv2.resize(noise, (IMAGE_PX, IMAGE_PX), interpolation=cv2.INTER_LINEAR)
    hand = np.full((IMAGE_PX, IMAGE_PX, 3), (90, 110, 120), np.uint8)
    skin = (205, 160, 135)
    cv2.ellipse(hand, (112, 150), (38, 42), 0, 0, 360, skin, -1)
    cv2.line(hand, (112, 190), (112, 224), skin, 44)
    for tip, base in (((52, 120), (84, 160)), ((80, 50), (88, 120)), ((108, 36), (106, 115))):
        cv2.line(hand, tip, base, skin, 17)
    for tip, base in (((134, 46), (124, 118)), ((160, 76), (142, 130))):
        cv2.line(hand, tip, base, skin, 15)
    far = cv2.copyMakeBorder(cv2.resize(hand[::-1], (112, 112)), 56, 56, 56, 56, cv2.BORDER_REPLICATE)
    return np.stack([noise.round().astype(np.uint8), hand, far])


@pytest.fixture(scope="module")
def network() -> LandmarkNet:
    network = LandmarkNet()
    network.load_state_dict(read_onnx(mediapipe_model("hand_landmark")))
    return network.eval()


def test_it_gives_the_numbers_of_the_original(network: LandmarkNet) -> None:
    recorded = json.loads(RECORDED.read_text())
    with torch.inference_mode():
        found = network(torch.from_numpy(images_rgb()))
    image = np.array(recorded["image"]).reshape(3, 21, 3)
    assert np.abs(found.image.numpy() - image).max() < 1e-5 * IMAGE_PX  # measured 8e-5 px
    assert np.abs(found.world_m.numpy() - np.array(recorded["world_m"]).reshape(3, 21, 3)).max() < 1e-5
    for name in ("presence", "right"):
        probability = torch.sigmoid(getattr(found, f"{name}_logit")).numpy()
        assert np.abs(probability - np.array(recorded[name])).max() < 1e-5


def test_sightings_are_the_levels_at_the_points_and_survive_packing(network: LandmarkNet) -> None:
    with torch.inference_mode():
        seen = sight(network, torch.from_numpy(images_rgb()))
        found = network(torch.from_numpy(images_rgb()))
    # A point at the centre of a cell of the finest level is that cell.
    joint = seen.keypoints_px[1, 9, :2]
    cell = ((joint - 1.5) / 4).round().long()
    near = found.levels[0][1, :, cell[1] - 1 : cell[1] + 2, cell[0] - 1 : cell[0] + 2].flatten(1)
    sampled = seen.samples[1, 9, :24]
    assert (sampled >= near.amin(1) - 1e-4).all() and (sampled <= near.amax(1) + 1e-4).all()
    again = Sightings.unpack(seen.pack())
    assert (again.keypoints_px - seen.keypoints_px).abs().max() < 0.2
    assert (again.presence_logit - seen.presence_logit).abs().max() < 0.02
    assert torch.allclose(again.samples, seen.samples, atol=0.02, rtol=1e-3)
