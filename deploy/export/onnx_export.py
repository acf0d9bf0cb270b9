"""A checkpoint becomes an engine directory: its networks as ONNX files, with a manifest."""

import hashlib
import io
import logging
import warnings
from pathlib import Path

import msgspec
import numpy as np
import onnx
import torch
from torch import Tensor, nn

from calibration.errors import UserError
from calibration.found_files import hash_found
from calibration.written_files import check_can_write, write_atomic
from calibration.written_together import written_together
from deploy.artefact.manifest import (
    FORMAT,
    MANIFEST,
    OPSET,
    VIEWS,
    Interface,
    Manifest,
    TensorSpec,
    stage1_interface,
    stpt_interface,
)
from deploy.batches import Clouds
from deploy.engines.torch_engine import LATENTS_SEED, with_first_spatial
from models.network.checkpoint import load_checkpoint
from models.network.stage1 import Stage1
from models.network.stpt import SpatiotemporalPointTransformer
from models.network.ust_hand import draw_latents
from models.training.commit import code_commit
from models.weights import checkpoint_path

log = logging.getLogger(__name__)

# The exporter takes an axis of one for a constant, so the example has two hands; any number goes through the graph.
_EXAMPLE = {"hands": 2, "views": 4}
_MOST_HANDS = 64
_TYPES = {onnx.TensorProto.UINT8: "uint8", onnx.TensorProto.BOOL: "bool", onnx.TensorProto.FLOAT: "float32"}


class _Clouds(nn.Module):
    """Stage 1 with the outputs that an engine has, and what of the transformer concerns one frame alone."""

    def __init__(self, stage1: Stage1, stpt: SpatiotemporalPointTransformer) -> None:
        super().__init__()
        self.stage1, self.stpt = stage1, stpt

    def forward(self, crops_rgb: Tensor, P_crop: Tensor, view_mask: Tensor, latents: Tensor) -> tuple[Tensor, ...]:
        found = with_first_spatial(self.stage1(crops_rgb, P_crop, view_mask, latents), self.stpt)
        return tuple(getattr(found, name) for name in Clouds._fields)


class _Refined(nn.Module):
    """The transformer with the newest frame of its last block alone."""

    def __init__(self, stpt: SpatiotemporalPointTransformer) -> None:
        super().__init__()
        self.stpt = stpt

    def forward(
        self,
        anchors_m: Tensor,
        anchor_features: Tensor,
        queries_m: Tensor,
        query_features: Tensor,
        origins_m: Tensor,
        frame_mask: Tensor,
    ) -> tuple[Tensor, Tensor]:
        found = self.stpt(
            anchors_m, anchor_features, queries_m, query_features, origins_m, frame_mask, first_spatial_applied=True
        )
        return found.queries_m[:, -1, -1], found.covariance_m2


def export(checkpoint: str, directory: Path) -> Manifest:
    """Write the engine directory of a checkpoint, a path or `shipped`; the manifest comes last.

    Raises UserError where the checkpoint cannot be read or, before any work, the directory cannot be made.
    """
    place = directory.resolve()
    nearest = next(folder for folder in (place, *place.parents) if folder.exists())
    if not nearest.is_dir():
        raise UserError(f"{nearest} is a file. Give a directory for the engine.")
    check_can_write(nearest / MANIFEST, f"`{directory}`")
    network, info = load_checkpoint(checkpoint)
    config = network.config
    stage1, stpt = stage1_interface(config), stpt_interface(config)
    latents = io.BytesIO()
    np.save(latents, draw_latents(config, 1, VIEWS[1], LATENTS_SEED).numpy())
    files = {"latents.npy": latents.getvalue()}
    for number, (name, module, interface) in enumerate(
        (("stage1.onnx", _Clouds(network.stage1, network.stpt), stage1), ("stpt.onnx", _Refined(network.stpt), stpt)), 1
    ):
        log.info("export: %s (%d of 2; this takes a minute or so)", name, number)
        files[name] = _to_onnx(module.eval(), interface)
    manifest = Manifest(
        format=FORMAT,
        network=config,
        stage1=stage1,
        stpt=stpt,
        sha256={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        checkpoint_sha256=hash_found(checkpoint_path(checkpoint)),
        step=info.step,
        commit=code_commit(),
        torch=str(torch.__version__),
    )
    files[MANIFEST] = msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"
    with written_together(directory, last=MANIFEST) as folder:
        for name, content in files.items():
            write_atomic(folder / name, content)
    return manifest


def _to_onnx(module: nn.Module, interface: Interface) -> bytes:
    """The checked ONNX file of a module. Raises RuntimeError where its tensors are not those of the interface."""
    axes = {
        "hands": torch.export.Dim("hands", min=1, max=_MOST_HANDS),
        "views": torch.export.Dim("views", min=VIEWS[0], max=VIEWS[1]),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own deprecations, and of axes that share a name on purpose
        program = torch.onnx.export(
            module,
            tuple(_example(spec) for spec in interface.inputs),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=tuple(
                {axis: axes[size] for axis, size in enumerate(spec.shape) if isinstance(size, str)}
                for spec in interface.inputs
            ),
            input_names=[spec.name for spec in interface.inputs],
            output_names=[spec.name for spec in interface.outputs],
            verbose=False,
        )
    assert program is not None
    content = program.model_proto.SerializeToString()
    onnx.checker.check_model(content, full_check=True)  # with shape inference
    graph = onnx.load_from_string(content).graph
    found = Interface(tuple(map(_spec, graph.input)), tuple(map(_spec, graph.output)))
    if found != interface:
        raise RuntimeError(f"the exported graph has {found}, expected {interface}")
    return content


def _example(spec: TensorSpec) -> Tensor:
    return torch.ones(spec.sized(**_EXAMPLE), dtype=getattr(torch, spec.dtype))


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    return TensorSpec(
        value.name,
        _TYPES[tensor.elem_type],  # type: ignore[arg-type]
        tuple(size.dim_param or size.dim_value for size in tensor.shape.dim),
    )
