"""The packaged checkpoint, and where a checkpoint is that a user names. Loads no torch."""

from pathlib import Path

SHIPPED = "shipped"
_PACKAGED = Path(__file__).resolve().parent / "small.safetensors"


def checkpoint_path(name: str | Path) -> Path:
    """The file of a checkpoint: `shipped` is the one in the package, anything else a path."""
    return _PACKAGED if str(name) == SHIPPED else Path(name)
