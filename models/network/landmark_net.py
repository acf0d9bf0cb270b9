"""MediaPipe's hand landmark network as a torch module: EfficientNet-lite0's shape with four heads.

The original is `hand_landmark_full.tflite` of mediapipe 0.10.21 (Apache-2.0): inverted residual blocks (M. Sandler et
al., "MobileNetV2", CVPR 2018; M. Tan and Q. Le, "EfficientNet", ICML 2019) with folded normalisation and relu6, and
TensorFlow's SAME padding: where a convolution halves the size, what is odd of the padding comes after, not before.
With its weights, which models/tools/landmark_weights.py reads, the module gives the same numbers; its images are 224
pixels wide.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional

from calibration.errors import UserError
from calibration.hand import JOINTS
from calibration.written_files import write_atomic
from models.network.config import NetworkConfig
from models.network.heatmap_head import HeatmapHead

IMAGE_PX = 224
CHANNELS = (24, 40, 112, 192)
"""Of the levels at strides 4, 8, 16 and 32."""
FEATURES = 1152

_STEM = 24
# Expanded channels (0: not expanded), kernel, stride and channels of each block (0: not projected).
_BLOCKS = (
    (0, 3, 1, 16),
    (64, 3, 2, 24),
    (144, 3, 1, 24),
    (144, 5, 2, 40),
    (240, 5, 1, 40),
    (240, 3, 2, 80),
    (480, 3, 1, 80),
    (480, 3, 1, 80),
    (480, 5, 1, 112),
    (672, 5, 1, 112),
    (672, 5, 1, 112),
    (672, 5, 2, 192),
    (1152, 5, 1, 192),
    (1152, 5, 1, 192),
    (1152, 5, 1, 192),
    (1152, 3, 1, 0),
)
INSIDE = "stage1.backbone."
_HEATMAP_CHANNELS = 64
_LEVELS = (2, 4, 10, 14)
"""The blocks after which the levels are taken."""


class Landmarks(NamedTuple):
    """What the network says of N crops, float32."""

    levels: tuple[Tensor, ...]
    """(N, C, S / s, S / s) for s = 4, 8, 16, 32, in the network's own precision."""
    pooled: Tensor
    """(N, 1152): the mean of the last map."""
    image: Tensor
    """(N, J, 3): crop pixels, and the depth relative to the wrist in the same unit."""
    presence_logit: Tensor
    """(N,): that there is a hand."""
    right_logit: Tensor
    """(N,): that it is the person's right one. (The original's name for it is left, for it is trained on selfies.)"""
    world_m: Tensor
    """(N, J, 3): metres from the hand's middle, in the camera's axes."""


class LandmarkNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv2d(3, _STEM, 3, 2)
        channels, blocks = _STEM, []
        for expanded, kernel, stride, out in _BLOCKS:
            blocks.append(InvertedResidual(channels, expanded, kernel, stride, out))
            channels = out or expanded
        self.blocks = nn.ModuleList(blocks)
        self.image = nn.Linear(FEATURES, 3 * JOINTS)
        self.presence = nn.Linear(FEATURES, 1)
        self.right = nn.Linear(FEATURES, 1)
        self.world = nn.Linear(FEATURES, 3 * JOINTS)

    def forward(self, crops_rgb: Tensor) -> Landmarks:
        """uint8 (or as large float) RGB crops (N, S, S, 3), of which only S = 224 is what the heads are made for."""
        x = (crops_rgb.float() / 255).permute(0, 3, 1, 2)
        x = functional.relu6(self.stem(x))
        levels = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in _LEVELS:
                levels.append(x)
        pooled = x.mean((2, 3))
        return Landmarks(
            levels=tuple(levels),
            pooled=pooled,
            image=self.image(pooled).float().unflatten(1, (JOINTS, 3)),
            presence_logit=self.presence(pooled).float().squeeze(1),
            right_logit=self.right(pooled).float().squeeze(1),
            world_m=self.world(pooled).float().unflatten(1, (JOINTS, 3)),
        )


class HeatmapLandmarkNet(LandmarkNet):
    """The same with image coordinates that are the means of heatmaps on its levels; the depths stay the original's.

    models/training/heatmaps.py trains the head, outside of the network; here it is always as in use.
    """

    def __init__(self) -> None:
        super().__init__()
        self.heatmap_head = HeatmapHead(
            NetworkConfig(crop_px=IMAGE_PX, decoder_channels=_HEATMAP_CHANNELS), channels=CHANNELS
        )

    def forward(self, crops_rgb: Tensor) -> Landmarks:
        found = super().forward(crops_rgb)
        points_px = self.heatmap_head(found.levels).keypoints_px
        return found._replace(image=torch.cat([points_px, found.image[..., 2:]], -1))

    def train(self, mode: bool = True) -> "HeatmapLandmarkNet":
        super().train(mode)
        self.heatmap_head.eval()  # its batch statistics are not those of what the rest learns from
        return self


class InvertedResidual(nn.Module):
    """Expand by 1x1, filter each channel, project by 1x1; the input is added where the size stays."""

    def __init__(self, channels: int, expanded: int, kernel: int, stride: int, out: int) -> None:
        super().__init__()
        wide = expanded or channels
        self.expand = nn.Conv2d(channels, wide, 1) if expanded else None
        self.depthwise = SameConv2d(wide, wide, kernel, stride, groups=wide)
        self.project = nn.Conv2d(wide, out, 1) if out else None
        self.residual = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else functional.relu6(self.expand(x))
        y = functional.relu6(self.depthwise(y))
        if self.project is not None:
            y = self.project(y)
        return x + y if self.residual else y


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding of even sizes: (k - stride) in all, the larger half after."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, groups: int = 1) -> None:
        before = (kernel - stride) // 2
        self.after = kernel - stride - 2 * before if stride > 1 else 0
        super().__init__(channels, out, kernel, stride, padding=before, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        if self.after:
            x = functional.pad(x, (0, self.after, 0, self.after))
        return super().forward(x)


def write_landmark_net(path: Path, state: Mapping[str, Tensor]) -> None:
    """A file of weights as `read_landmark_net` takes, atomically. Raises OSError, which names the file."""
    write_atomic(path, save({name: value.contiguous() for name, value in state.items()}))


def read_landmark_net(path: Path) -> LandmarkNet:
    """The network with the weights of a file of models/tools/landmark_weights.py or models/training/heatmaps.py, or of
    a checkpoint that has one.

    Raises UserError where the file is missing or holds something else.
    """
    try:
        state = load_file(path)
        inside = {name.removeprefix(INSIDE): value for name, value in state.items() if name.startswith(INSIDE)}
        state = inside or state
        network = HeatmapLandmarkNet() if any(name.startswith("heatmap_head.") for name in state) else LandmarkNet()
        network.load_state_dict({name: value.float() for name, value in state.items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        raise UserError(
            f"{path}: not the landmark network's weights ({str(error).splitlines()[0]}). Give a checkpoint of the "
            "recipe `live`, or make them with: python -m models.tools.landmark_weights OUT"
        ) from error
    return network
