"""ResNet (He et al., "Deep Residual Learning for Image Recognition", CVPR 2016), the 18 and 34 layer ones.

A block computes y = relu(x + BN(conv(relu(BN(conv(x)))))); where the size changes, x passes a 1x1 convolution.
Parameter names are torchvision's, so that public ImageNet weights load from a file.
"""

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from calibration.errors import UserError, reason_of
from calibration.found_files import check_file
from models.network.config import NetworkConfig

BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: (N, Cin, H, W) to (N, Cout, H / stride, W / stride)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or channels_in != channels_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + shortcut)


class Backbone(nn.Module):
    """Crops to feature maps at strides 4, 8, 16 and 32."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.kind = config.backbone
        base = config.base_channels
        self.channels = tuple(base * factor for factor in (1, 2, 4, 8))
        self.conv1 = nn.Conv2d(3, base, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(base)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        blocks = BLOCKS[self.kind]
        self.layer1 = _level(base, base, 1, blocks[0])
        self.layer2 = _level(base, 2 * base, 2, blocks[1])
        self.layer3 = _level(2 * base, 4 * base, 2, blocks[2])
        self.layer4 = _level(4 * base, 8 * base, 2, blocks[3])
        self.register_buffer("mean", 255 * torch.tensor(IMAGENET_MEAN), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(IMAGENET_STD), persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, crops_rgb: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """uint8 RGB crops (N, S, S, 3) to maps (N, C, S / s, S / s) for s = 4, 8, 16, 32."""
        x = ((crops_rgb.float() - self.mean) / self.std).permute(0, 3, 1, 2)
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        level4 = self.layer1(x)
        level8 = self.layer2(level4)
        level16 = self.layer3(level8)
        return level4, level8, level16, self.layer4(level16)

    def load_imagenet(self, path: Path) -> None:
        """Loads weights in torchvision's naming from a .safetensors file or a .pth state dict; `fc.*` is ignored.

        Raises UserError where the file is missing, is no such file, or holds other layers or sizes. A pickle is read
        with torch's restricted unpickler, which runs no code.
        """
        state = {name: value for name, value in _read_state(path).items() if not name.startswith("fc.")}
        own = self.state_dict()
        counters = {name for name in own if name.endswith("num_batches_tracked")}  # old files lack them
        missing = sorted(own.keys() - state.keys() - counters)
        unknown = sorted(state.keys() - own.keys())
        if missing or unknown:
            listed = ", ".join((missing or unknown)[:3])
            raise UserError(
                f"{path}: not the weights of a {self.kind}: {len(missing)} of its parameters are missing and "
                f"{len(unknown)} are unknown (as {listed}); give torchvision's weights of that network"
            )
        for name in sorted(own.keys() & state.keys()):
            if own[name].shape != state[name].shape:
                raise UserError(
                    f"{path}: {name} has shape {tuple(state[name].shape)}, expected {tuple(own[name].shape)}; ImageNet "
                    f"weights fit base_channels 64, this network has {self.channels[0]}"
                )
        self.load_state_dict(state, strict=False)


def _level(channels_in: int, channels_out: int, stride: int, blocks: int) -> nn.Sequential:
    first = BasicBlock(channels_in, channels_out, stride)
    return nn.Sequential(first, *(BasicBlock(channels_out, channels_out, 1) for _ in range(blocks - 1)))


def _read_state(path: Path) -> dict[str, Tensor]:
    try:
        check_file(path)
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{path}: cannot read the backbone's weights: {reason_of(error)}") from error
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise UserError(f"{path}: not a file of weights (.safetensors, or a .pth state dict of tensors)") from error
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise UserError(f"{path}: holds no mapping of names to tensors; save the network's state_dict()")
    return state
