"""`python -m models.tools.package CHECKPOINT [OUT]`: makes a run's checkpoint the packaged one, in half precision."""

import sys
from pathlib import Path

from calibration.errors import UserError
from models.network.checkpoint import load_checkpoint, save_checkpoint
from models.weights import SHIPPED, checkpoint_path


def package(source: Path, out: Path) -> None:
    """Write the checkpoint `source` as float16. Raises UserError where it cannot be read."""
    network, info = load_checkpoint(source)
    save_checkpoint(out, network.state_dict(), info, half=True)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python -m models.tools.package CHECKPOINT [OUT]")
    try:
        package(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else checkpoint_path(SHIPPED))
    except UserError as error:
        sys.exit(f"usthand: {error}")
