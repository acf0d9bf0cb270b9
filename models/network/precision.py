"""Geometry and densities stay in float32 where the rest runs under bf16 autocast."""

from contextlib import AbstractContextManager, nullcontext

import torch


def float32_region(tensor: torch.Tensor) -> AbstractContextManager:
    """Autocast off for the device of `tensor`; inputs are still to be made float32. Nothing to do in an export."""
    if torch.compiler.is_exporting():
        return nullcontext()
    return torch.autocast(tensor.device.type, enabled=False)
