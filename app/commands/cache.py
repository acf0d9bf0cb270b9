"""`usthand cache`: what this program keeps to be quicker, and how to be rid of it."""

import argparse
import json
from pathlib import Path

from app.commands.subcommand import add_command
from app.doctor.system import folder_bytes
from calibration.cached_folder import user_cache
from calibration.found_files import remove_folder

_MAKING = ".making-"
_KINDS = {
    "demo-": "rendered images of `usthand demo`",
    "engine-": "an exported checkpoint",
    "openvino-": "a compiled hand detector",
    "tensorrt-": "a built hand detector",
    "simulated-": "simulated crops to train on",
    _MAKING: "being made, or left by what was killed",
}


def add_parser(subparsers) -> None:
    parser = add_command(
        subparsers,
        "cache",
        run,
        "show what is kept to be quicker (rendered images, exported networks), or empty it",
        "  usthand cache\n  usthand cache --empty   (it is made again when it is needed)",
    )
    parser.add_argument("--empty", action="store_true", help="remove all of it")


def run(args: argparse.Namespace) -> int:
    cache = user_cache()
    kept = [{"name": path.name, "bytes": _bytes(path)} for path in _entries(cache)]
    for entry in kept:
        said = next((said for kind, said in _KINDS.items() if entry["name"].startswith(kind)), "")
        print(f"{entry['bytes'] / 1e6:8.1f} MB  {entry['name']}{f'  ({said})' if said else ''}")
    total = sum(entry["bytes"] for entry in kept)
    print(f"{total / 1e6:8.1f} MB  in {cache}")
    left = []
    if args.empty:
        for path in _entries(cache):
            if not _is_being_made(path):
                _remove(path)
        left = [path.name for path in _entries(cache)]
        print(f"emptied; {', '.join(left)} stays" if left else "emptied")
    if args.json:
        print(json.dumps({"folder": str(cache), "bytes": total, "kept": kept, "emptied": args.empty and not left}))
    return 1 if any(not _is_being_made(cache / name) for name in left) else 0


def _entries(cache: Path) -> list[Path]:
    return sorted(cache.iterdir()) if cache.is_dir() else []


def _is_being_made(path: Path) -> bool:
    """By a process that still runs, whose number ends the name."""
    process = path.name.rpartition("-")[2]
    return path.name.startswith(_MAKING) and process.isdigit() and Path("/proc", process).exists()


def _bytes(path: Path) -> int:
    is_folder = path.is_dir() and not path.is_symlink()
    return folder_bytes(path) if is_folder else path.lstat().st_blocks * 512


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        remove_folder(path)
    else:
        path.unlink(missing_ok=True)
