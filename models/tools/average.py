"""`python -m models.tools.average FIRST SECOND OUT [SHARE]`: a checkpoint a SHARE (default a half) of the way from the
first one's weights to the second's, which was trained on from them.

What the second forgot comes back, and most of what it learned stays (M. Wortsman et al., "Robust fine-tuning of
zero-shot models", CVPR 2022).
"""

import sys
from pathlib import Path

from calibration.errors import UserError
from models.network.checkpoint import load_checkpoint, save_checkpoint


def average(first: str | Path, second: str | Path, out: Path, share: float = 0.5) -> None:
    """Write the checkpoint. Raises UserError where one cannot be read, or they are of different networks."""
    there, info = load_checkpoint(second)
    here, _ = load_checkpoint(first, info.network)
    before, after = here.state_dict(), there.state_dict()
    between = {
        name: before[name].lerp(value, share) if value.is_floating_point() else value for name, value in after.items()
    }
    save_checkpoint(out, between, info)


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit("usage: python -m models.tools.average FIRST SECOND OUT [SHARE]")
    try:
        average(sys.argv[1], sys.argv[2], Path(sys.argv[3]), *map(float, sys.argv[4:]))
    except UserError as error:
        sys.exit(f"usthand: {error}")
