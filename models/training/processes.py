"""Several processes that train one network: each on its own windows, gradients averaged."""

import os

import torch
from torch import Tensor, distributed, nn

from calibration.errors import UserError


def rank_and_world() -> tuple[int, int]:
    """Of this process, as torch's launchers tell it."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


class Processes:
    """This process among its peers: `rank` of `world`, and its device. Raises UserError for more of them than GPUs."""

    def __init__(self) -> None:
        self.rank, self.world = rank_and_world()
        local = int(os.environ.get("LOCAL_RANK", "0"))
        self.device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
        if self.device.type == "cuda":
            if local >= torch.cuda.device_count():
                raise UserError(
                    f"process {local + 1} has no GPU of its own: this machine has {torch.cuda.device_count()}. Give as "
                    "many `--processes` at most."
                )
            torch.cuda.set_device(self.device)
        if self.world > 1:
            distributed.init_process_group("nccl" if self.device.type == "cuda" else "gloo")

    def close(self) -> None:
        if self.world > 1:
            distributed.destroy_process_group()

    def wait(self) -> None:
        """Until every process is here."""
        if self.world > 1:
            distributed.barrier()

    def average(self, tensors: list[Tensor]) -> None:
        """Replace tensors by their mean over the processes, all in one message."""
        if self.world == 1 or not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(flat)
        for tensor, part in zip(tensors, (flat / self.world).split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def average_gradients(self, model: nn.Module) -> None:
        """A parameter without gradient has none in any process: all take the same step of the same kind."""
        self.average([parameter.grad for parameter in model.parameters() if parameter.grad is not None])

    def average_statistics(self, model: nn.Module) -> None:
        """The running statistics of batch normalisation, so that every process has the same network."""
        self.average([buffer for buffer in model.buffers() if buffer.is_floating_point()])

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.world == 1:
            return flag
        value = torch.tensor(float(flag), device=self.device)
        distributed.all_reduce(value)
        return bool(value > 0)
