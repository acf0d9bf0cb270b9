"""Checkpoints: the weights as safetensors, whose header holds a JSON of the network's config and where it came from.

A `.json` beside it repeats the header for people. safetensors holds numbers only, so that loading runs no code. It is
written atomically. Beside the checkpoints of a run lies its `resume.safetensors`, with the optimiser's state.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from calibration.errors import UserError, reason_of
from calibration.found_files import check_file
from calibration.written_files import write_atomic
from models.network.config import NetworkConfig, config_from
from models.network.ust_hand import UstHand
from models.weights import checkpoint_path

_KEY = "usthand"
_FORMAT = "usthand checkpoint 1"
_LATER_FIELDS = ("landmark_heatmaps", "trust_exponent")
"""Of the config: not written where they are as by default, so that checkpoints from before keep their bytes."""


class CheckpointInfo(msgspec.Struct, frozen=True):
    """What a checkpoint says of itself: `provenance` has the data's hash, the seed, the commit and so on."""

    network: NetworkConfig
    step: int
    provenance: dict[str, Any]


def save_checkpoint(path: Path, state: dict[str, Tensor], info: CheckpointInfo, half: bool = False) -> None:
    """Write the state of a `UstHand` and its info; `half` stores the numbers as float16."""
    tensors = {name: tensor.half() if half and tensor.is_floating_point() else tensor for name, tensor in state.items()}
    header = {"format": _FORMAT, **msgspec.to_builtins(info)}
    for name in _LATER_FIELDS:
        if header["network"][name] == getattr(NetworkConfig(), name):
            del header["network"][name]
    write_tensors(path, tensors, header)
    write_atomic(path.with_suffix(".json"), (json.dumps(header, indent=2) + "\n").encode())


def load_checkpoint(name: str | Path, expected: NetworkConfig | None = None) -> tuple[UstHand, CheckpointInfo]:
    """The network of a checkpoint, for use (eval mode, float32, on the CPU), and what the checkpoint says of itself.

    `name` is a path or `shipped`. Raises UserError where the file is missing, truncated, no safetensors, not of this
    program, of another config than `expected`, or where its weights are not those of its config.
    """
    path = checkpoint_path(name)
    tensors, header = read_tensors(path)
    if header.get("format") != _FORMAT:
        raise UserError(f"{path}: format {header.get('format')!r}, expected {_FORMAT!r}. Give a checkpoint.")
    try:
        network = config_from(header["network"], str(path))
        info = CheckpointInfo(network, int(header["step"]), dict(header["provenance"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{path}: its header lacks or spoils {error}. Train or download it again.") from None
    if expected is not None and network != expected:
        differing = [
            f"{field} {getattr(network, field)!r} (expected {getattr(expected, field)!r})"
            for field in network.__struct_fields__
            if getattr(network, field) != getattr(expected, field)
        ]
        raise UserError(f"{path}: a checkpoint of another network: {', '.join(differing)}. Give one of this config.")
    # First without memory: a damaged header may ask for any amount.
    with torch.device("meta"):
        check_names(path, tensors, UstHand(network).state_dict())
    model = UstHand(network)
    model.load_state_dict(tensors)
    return model.eval(), info


def load_beginning(name: str | Path, model: UstHand) -> None:
    """Give a network the weights of a checkpoint whose network is the same, or has more parts than it (further blocks).

    Raises UserError as `load_checkpoint`, and where the checkpoint lacks a part or has it in another size.
    """
    begun, info = load_checkpoint(name)
    tensors, expected = begun.state_dict(), model.state_dict()
    wrong = [key for key in expected if key not in tensors or tensors[key].shape != expected[key].shape]
    if wrong:
        raise UserError(
            f"{checkpoint_path(name)}: a checkpoint of another network ({info.network.recipe}): {wrong[0]} and "
            f"{len(wrong) - 1} more of its weights are missing or have another size. Give one of the same sizes."
        )
    model.load_state_dict({key: tensors[key] for key in expected})


def write_tensors(path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Write tensors and a JSON header as one safetensors file, atomically."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomic(path, save(plain, metadata={_KEY: json.dumps(header)}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and header of a file of `write_tensors`; raises UserError for anything else. Runs nothing it reads."""
    try:
        check_file(path)
        with path.open("rb") as file:
            start = file.read(9)
        # safetensors begin with eight bytes of their header's length, which may be anything, and the header's brace.
        if start[8:] != b"{" and (start[:1] == b"\x80" or start[:2] == b"PK"):
            raise UserError(
                f"{path}: a pickle (as torch.save writes), expected safetensors. It was not opened, for a pickle can "
                "run code. Give a checkpoint that `usthand train` wrote."
            )
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {}).get(_KEY, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint. Give a .safetensors file that `usthand train` wrote.") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({reason_of(error)}).") from None
    except (SafetensorError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not safetensors, or not whole ({error}). Copy or train it again.") from None
    if not isinstance(header, dict):
        raise UserError(f"{path}: safetensors without this program's header. Give a checkpoint of `usthand train`.")
    return tensors, header


def check_names(path: Path, tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Raise UserError unless the tensors have the expected names and shapes and are finite."""
    missing, unknown = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or unknown:
        raise UserError(
            f"{path}: {len(missing)} tensors are missing and {len(unknown)} are unknown "
            f"(as {(missing or unknown)[0]}): the weights of another network than its header says. Train it again."
        )
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise UserError(f"{path}: {name} has shape {tuple(tensor.shape)}, expected {tuple(expected[name].shape)}.")
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise UserError(f"{path}: {name} holds numbers that are not finite. Use an earlier checkpoint.")
