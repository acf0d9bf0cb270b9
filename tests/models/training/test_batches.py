"""How a training run's workers end, and what is said where they have too little shared memory."""

import shutil
import subprocess
import sys

import pytest
import torch

from calibration.errors import UserError
from models.training.batches import check_shared_memory
from tests.conftest import ROOT

FAILS = """
import torch
from torch.utils.data import DataLoader
from models.data.windows import quiet_worker

class Endless(torch.utils.data.Dataset):
    def __len__(self):
        return 1000
    def __getitem__(self, key):
        if HANGS:
            import time
            if key > 8:
                time.sleep(1000)
        return torch.zeros(1000)

HANGS = %s
if __name__ == "__main__":
    batches = iter(DataLoader(Endless(), 2, num_workers=2, worker_init_fn=quiet_worker, persistent_workers=True))
    next(batches)
    raise MemoryError("the step failed")
"""


@pytest.mark.parametrize("hangs", [pytest.param(False, marks=pytest.mark.slow), True])
def test_training_ends_when_a_step_fails(tmp_path, hangs):
    """Workers that ignored SIGTERM were waited for without end, where one was busy reading."""
    program = tmp_path / "program.py"
    program.write_text(FAILS % hangs)
    done = subprocess.run(
        [sys.executable, program], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False, env=None
    )
    assert done.returncode == 1
    assert "MemoryError: the step failed" in done.stderr


class Items:
    def __len__(self) -> int:
        return 4

    def __getitem__(self, key: tuple[int, int, int]) -> dict[str, torch.Tensor]:
        return {"crops_rgb": torch.zeros(5, 4, 128, 128, 3, dtype=torch.uint8)}


def test_too_little_shared_memory_is_said_before_it_kills_a_worker(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(64_000_000, 0, 64_000_000))
    with pytest.raises(UserError, match=r"64 MB free, and 4 workers hand over batches of 126 MB.*--shm-size"):
        check_shared_memory(Items(), 32, 4, 4, tmp_path)
    check_shared_memory(Items(), 8, 4, 4, tmp_path)
    check_shared_memory(Items(), 32, 4, 0, tmp_path)
