"""The network's sizes and switches, as one typed value with named recipes. Loads no torch."""

from typing import Literal

import msgspec

from calibration.errors import UserError
from calibration.hand import JOINTS, Definition

MAX_VIEWS = 8
"""Of a hand, that the network looks at: it is trained and exported for two to so many. Of a rig of more cameras each
hand is looked at in the best of them."""

PARTS = ("casa", "gcn", "flow", "spatial", "temporal", "cross", "stpt")
"""What an ablation can switch off."""

_MOST = {"frames": 64, "blocks": 32, "flow_layers": 64, "robust_rounds": 64}
_MOST_OF_OTHERS = 4096


class NetworkConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Sizes and switches of both stages; the defaults are the recipe `paper`.

    Stage 1: crops of `crop_px` go through `backbone`, whose four levels have `base_channels` x 1, 2, 4, 8 channels
    (64 is torchvision's). A decoder of `decoder_channels` gives heatmaps of a quarter of the crop's size. `width` is
    the width D of all joint and point features, `heads` of every attention, `hypotheses` M poses are drawn from a
    flow of `flow_layers` couplings with `flow_width` hidden units.

    Stage 2: `frames` T, `blocks` K, and `neighbours` k of a point in the cloud. The transformer reads the first
    `anchors` A of the hypotheses, or all where there are fewer; all of them shape the covariance.

    The switches: `casa`, `gcn`, `flow` (off: every hypothesis is the heatmap's estimate), `spatial`, `temporal` and
    `cross` attention, and the whole transformer, `stpt` (off: the result is stage 1's mode). `view_weights` lets the
    network learn a weight of each view and joint on top of its confidence, `camera_embedding` tells the graph
    convolution from where each view looks.

    `backbone` "mediapipe" is MediaPipe's landmark network with its own weights, held as they are, whose points are the
    2D estimates instead of heatmaps' means (models/network/landmark_net.py); it takes upright crops of 224 pixels, and
    `base_channels` and `decoder_channels` are of no use to it. With `landmark_heatmaps` the estimates are the means of
    heatmaps on its levels (models/training/heatmaps.py). `robust_rounds`: how often the DLT is solved again with
    less weight for views that disagree.

    `correction_share`: in use, but not in training, the flow's mode is moved back to the 2D estimates, so that this
    share of what it corrects is left; its spread stays. Corrections learned on hands unlike those in use are too large.
    `trust_exponent`, likewise: each view's trust in a joint to that power weighs it in the DLT. On such hands the
    network is surer than it is right.
    """

    recipe: str = "paper"

    crop_px: int = 256
    backbone: Literal["resnet18", "resnet34", "mediapipe"] = "resnet34"
    base_channels: int = 64
    decoder_channels: int = 128
    width: int = 128
    heads: int = 4
    hypotheses: int = 16
    flow_layers: int = 6
    flow_width: int = 128

    frames: int = 5
    blocks: int = 4
    neighbours: int = 16
    anchors: int = 16
    landmark_heatmaps: bool = False
    robust_rounds: int = 0
    correction_share: float = 1.0
    trust_exponent: float = 1.0

    casa: bool = True
    gcn: bool = True
    flow: bool = True
    view_weights: bool = True
    camera_embedding: bool = True
    spatial: bool = True
    temporal: bool = True
    cross: bool = True
    stpt: bool = True

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            least, most = 0 if name == "robust_rounds" else 1, _MOST.get(name, _MOST_OF_OTHERS)
            if type(value) is int and not least <= value <= most:
                raise ValueError(f"{name} is {value}, expected {least} to {most}")
        if not 0 <= self.correction_share <= 1:
            raise ValueError(f"correction_share is {self.correction_share}, expected 0 to 1")
        if not 0 < self.trust_exponent <= 1:
            raise ValueError(f"trust_exponent is {self.trust_exponent}, expected more than 0, and 1 at most")
        if self.crop_px % 32:
            raise ValueError(f"crop_px is {self.crop_px}, expected a multiple of 32, the backbone's coarsest stride")
        if self.landmarks and self.crop_px != 224:
            raise ValueError(f"crop_px is {self.crop_px}, expected 224, for which the backbone `mediapipe` is made")
        if self.landmark_heatmaps and not self.landmarks:
            raise ValueError(f"landmark_heatmaps is for the backbone `mediapipe`, not for {self.backbone}")
        if self.width % self.heads:
            raise ValueError(f"width is {self.width}, expected a multiple of heads ({self.heads})")
        if self.neighbours > self.cloud_points:
            raise ValueError(
                f"neighbours is {self.neighbours}, but {self.cloud_points // JOINTS} hypotheses of {JOINTS} joints "
                f"give a cloud of {self.cloud_points} points"
            )

    @property
    def landmarks(self) -> bool:
        """Whether a landmark network's own points are the 2D estimates, and crops are upright."""
        return self.backbone == "mediapipe"

    @property
    def definition(self) -> Definition:
        """Where the joints that it gives lie: see models/hand/definition.py."""
        return "detector" if self.landmarks else "anatomical"

    @property
    def heatmap_px(self) -> int:
        """Side of a heatmap, in cells of 4 x 4 crop pixels."""
        return self.crop_px // 4

    @property
    def cloud_points(self) -> int:
        """Points A x J of a frame's anchor cloud, as the transformer reads it."""
        return min(self.anchors, self.hypotheses) * JOINTS


RECIPES = {
    "paper": NetworkConfig(),
    "small": NetworkConfig(
        recipe="small",
        crop_px=128,
        backbone="resnet18",
        base_channels=32,
        decoder_channels=64,
        width=64,
        hypotheses=8,
        flow_layers=4,
        flow_width=96,
        # More of either moved the packaged weights' error by 0.02 mm, and made the transformer three times as slow.
        blocks=2,
        anchors=4,
        neighbours=8,
    ),
    "live": NetworkConfig(
        recipe="live",
        crop_px=224,
        backbone="mediapipe",
        width=96,
        hypotheses=8,
        flow_layers=4,
        flow_width=96,
        blocks=2,
        anchors=4,
        neighbours=8,
        robust_rounds=3,
        correction_share=0.5,
        trust_exponent=0.6,
    ),
    "tiny": NetworkConfig(
        recipe="tiny",
        crop_px=64,
        backbone="resnet18",
        # Not 8: with two threads the oneDNN of torch 2.13 corrupts its memory in the backward pass of so few channels.
        base_channels=16,
        decoder_channels=16,
        width=16,
        heads=2,
        hypotheses=3,
        flow_layers=2,
        flow_width=16,
        blocks=2,
        anchors=2,
        neighbours=4,
    ),
}


def recipe(name: str, /, **changes: object) -> NetworkConfig:
    """The recipe of that name, with some fields changed: `recipe("small", casa=False)`.

    Raises UserError for an unknown recipe or field, or a value that does not fit.
    """
    if name not in RECIPES:
        raise UserError(f"network recipe {name!r}: unknown; choose one of {', '.join(RECIPES)}")
    return config_from(msgspec.to_builtins(RECIPES[name]) | changes, f"network recipe {name!r}")


def config_from(values: object, source: str) -> NetworkConfig:
    """The config that plain values (a mapping from YAML or JSON) describe; `source` names them in the error.

    Raises UserError for an unknown field, a value of another type, or sizes that do not fit each other.
    """
    try:
        return msgspec.convert(values, NetworkConfig)
    except msgspec.ValidationError as error:
        fields = ", ".join(NetworkConfig.__struct_fields__)
        raise UserError(f"{source}: {error}. The network's fields are {fields}.") from error


def without(config: NetworkConfig, part: str) -> NetworkConfig:
    """The config with one part switched off, for an ablation. Raises UserError for an unknown part."""
    if part not in PARTS:
        raise UserError(f"cannot ablate {part!r}; choose one of {', '.join(PARTS)}")
    return msgspec.structs.replace(config, **{part: False})
