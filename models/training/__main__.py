"""`python -m models.training CONFIG`: what `usthand train` starts, several times for several processes."""

import argparse
import fcntl
import logging
import os
import signal
import sys
import threading
from pathlib import Path

import msgspec
import torch

from calibration.errors import UserError
from calibration.found_files import hash_found
from calibration.programs import exit_code, say
from models.data.crop_cache import MARGIN, check_upright, read_manifest
from models.data.session_cache import cache_of
from models.data.windows import WindowDataset
from models.training.arguments import add_arguments
from models.training.commit import code_commit
from models.training.config import TrainConfig, read_train_config
from models.training.processes import Processes, rank_and_world
from models.training.trainer import Trainer, TrainingData
from models.weights import checkpoint_path


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m models.training")
    add_arguments(parser)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    threading.excepthook = _in_thread
    # All processes fail alike; the first one speaks.
    return exit_code(lambda: train(args), say if rank_and_world()[0] == 0 else lambda _: None)


def _in_thread(failed: threading.ExceptHookArgs) -> None:
    """The thread that writes the curves hands an OSError on to who writes the next ones: it is said there."""
    if not isinstance(failed.exc_value, OSError):
        threading.__excepthook__(failed)


def train(args: argparse.Namespace) -> int:
    """Train as the flags say; returns 0 at the end and where it was told to stop."""
    try:
        config = read_train_config(args.config, args.without)
        if args.output:
            config = msgspec.structs.replace(config, output=str(args.output))
        processes = Processes()
        try:
            data = open_data(config, processes)
            trainer = Trainer(config, data, processes, args.resume)
            _take_folder(trainer.folder, processes)
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: setattr(trainer, "stop", True))
            trainer.run()
        finally:
            processes.close()
    except KeyboardInterrupt:
        if rank_and_world()[0] == 0:
            say("stopped before the first step")
        raise
    if trainer.stop and processes.rank == 0:
        logging.getLogger(__name__).info(f"stopped at step {trainer.step}; --resume goes on from there")
    return 0


def _take_folder(folder: Path, processes: Processes) -> None:
    """Keep other runs out of the folder until this process ends. Raises UserError where another one is in it."""
    taken = False
    if processes.rank == 0:
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            # Of this process alone, unlike flock's: its workers, which outlive it for some seconds, do not have it.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            taken = True
        except OSError:  # a file system without locks
            pass
    if processes.any(taken):
        raise UserError(f"{folder}: another training is writing there. Wait until it ends, or give another --output.")


def open_data(config: TrainConfig, processes: Processes) -> TrainingData:
    """The crop caches of a config; those of recorded sessions are made first. Truth is opened for validation alone.

    Raises UserError for a folder that is neither a cache nor a labelled session.
    """
    network, data = config.network_config(), config.data
    size_px = round(MARGIN * network.crop_px)
    if processes.rank == 0:
        for path in (*data.train, *data.validation):
            cache_of(Path(path), size_px, network.landmarks)
    processes.wait()
    caches = {
        part: [cache_of(Path(path), size_px, network.landmarks) for path in getattr(data, part)]
        for part in ("train", "validation")
    }

    for path in (*caches["train"], *caches["validation"]):
        check_upright(path, network.landmarks)

    def train(frames: int) -> WindowDataset:
        return WindowDataset(
            caches["train"],
            network.crop_px,
            frames,
            data.augmentation,
            seed=config.seed,
            unseen=data.unseen,
            fused=data.fused,
            sightings=data.sightings,
            definition=network.definition,
        )

    # Too short sequences are named now, not when the first stage has been trained.
    windows = len(train(config.window_frames))
    validation = None
    if data.validation:
        truth = all(read_manifest(path).truth for path in caches["validation"])
        validation = WindowDataset(
            caches["validation"],
            network.crop_px,
            config.window_frames,
            truth=truth,
            sightings=data.sightings,
            definition=network.definition,
        )
    return TrainingData(train, validation, _provenance(config, caches) | {"windows": windows})


def _provenance(config: TrainConfig, caches: dict[str, list[Path]]) -> dict:
    """What a checkpoint says of its run: settings, hashes of each cache's manifest and of the checkpoint that it began
    from; folders by name only, and by that of the folder that they are in where two have the same."""
    settings, hashes = msgspec.to_builtins(config), {}
    folders = {Path(path) for part in caches for path in getattr(config.data, part)}
    parts = 1 if len({folder.name for folder in folders}) == len(folders) else 2
    for part, paths in caches.items():
        settings["data"][part] = ["/".join(Path(path).parts[-parts:]) for path in getattr(config.data, part)]
        for name, path in zip(settings["data"][part], paths, strict=True):
            hashes[name] = hash_found(path / "manifest.json")
    settings["output"] = Path(config.output).name
    for name in ("backbone_weights", "start"):
        settings[name] = settings[name] and Path(settings[name]).name
    start = {"start_sha256": hash_found(checkpoint_path(config.start))} if config.start else {}
    versions = {"commit": code_commit(), "torch": str(torch.__version__)}
    return {"manifests_sha256": hashes, **start, **versions, "config": settings}


if __name__ == "__main__":
    sys.exit(main())
