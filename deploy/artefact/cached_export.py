"""A checkpoint's engine directory, exported when it is first asked for and kept. Loads no torch itself."""

import hashlib
import importlib.util
import logging
import sys
from pathlib import Path

from calibration.cached_folder import cached_folder, user_cache
from calibration.found_files import hash_found
from calibration.programs import run_program
from deploy.artefact.manifest import MANIFEST
from models.weights import checkpoint_path

log = logging.getLogger(__name__)

_EXPORTS_WITH = ("torch", "safetensors", "onnx", "onnxscript")
_RUNS_WITH = ("openvino", "onnxruntime")
_CODE = (
    "models/network",
    "deploy/export/onnx_export.py",
    "deploy/artefact/manifest.py",
    "deploy/batches.py",
    "deploy/engines/torch_engine.py",
)


def cached_export(checkpoint: str, cache: Path | None = None) -> Path | None:
    """The engine directory of a checkpoint, a path or `shipped`; None, with the reason logged, where there can be none.

    The first time takes one or two minutes. A directory is kept for the checkpoint's content and the code that
    exported it, in `cache`, by default the user's.
    """
    if not any(importlib.util.find_spec(name) for name in _RUNS_WITH):
        log.info("engine: no export, since neither openvino nor onnxruntime is installed")
        return None
    missing = missing_to_export()
    cache = cache or user_cache()
    try:
        key = _key(checkpoint_path(checkpoint))
        if missing and not _is_whole(cache / f"engine-{key}"):
            log.info(f"engine: no export, since {', '.join(missing)} is not installed")
            return None
        return cached_folder(cache, "engine", key, _is_whole, lambda folder: _export(checkpoint, folder))
    except OSError as error:
        log.warning(f"engine: no export, since {error.filename or cache}: {error.strerror}")
    except RuntimeError as error:
        log.warning("engine: %s", error)
    return None


def missing_to_export() -> list[str]:
    """The libraries that an export needs and that are not installed."""
    return [name for name in _EXPORTS_WITH if importlib.util.find_spec(name) is None]


def _is_whole(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


def _export(checkpoint: str, folder: Path) -> None:
    log.info("engine: exporting %s, once; it is kept in %s", checkpoint, folder.parent)
    if run_program([sys.executable, "-m", "deploy.export", checkpoint, str(folder)]):
        raise RuntimeError("the export failed; its message is above")


def _key(checkpoint: Path) -> str:
    digest = hashlib.sha256(hash_found(checkpoint).encode())
    root = Path(__file__).resolve().parents[2]
    for name in _CODE:
        path = root / name
        for file in sorted(path.glob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
