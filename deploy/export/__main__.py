"""`python -m deploy.export CHECKPOINT DIR`: what `usthand export` starts."""

import argparse
import json
import logging
import sys

import msgspec

from calibration.programs import exit_code
from deploy.export.arguments import add_arguments
from deploy.export.mixed_precision_parity import check_half_parity
from deploy.export.onnx_export import export
from deploy.export.parity import Parity, check_parity
from deploy.tensorrt.build import build, library_here, targets
from deploy.tensorrt.manifest import TensorRTManifest

log = logging.getLogger("deploy.export")


def _tensorrt_figures(built: TensorRTManifest) -> dict:
    figures: dict = msgspec.to_builtins(built)
    return {name: figures[name] for name in ("library", "version", "precision", "engines")}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.export")
    add_arguments(parser)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    logging.basicConfig(level=logging.ERROR, format="%(message)s", stream=sys.stderr)  # torch and onnxscript say a lot
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    logging.getLogger("deploy").setLevel(logging.INFO)
    return exit_code(lambda: run(args), place=args.directory)


def run(args: argparse.Namespace) -> int:
    parity: list[Parity] = []
    built = None
    library = library_here() if args.tensorrt else None
    if library:
        targets(library, args.compute_capability)  # before the export, which takes long
    manifest = export(args.checkpoint, args.directory)
    if library:
        built = build(args.directory, args.compute_capability, library)
    log.info("export: %s", args.directory)
    if args.check:
        parity += check_parity(args.checkpoint, args.directory)
        parity += check_half_parity(args.directory) if built else []
    for found in parity:
        sys.stdout.write(f"{found}\n")
    if args.json:
        figures: dict = {"directory": str(args.directory), "sha256": manifest.sha256}
        figures["parity"] = [found.figures() for found in parity]
        if built:
            figures["tensorrt"] = _tensorrt_figures(built)
        sys.stdout.write(json.dumps(figures) + "\n")
    return 0 if all(found.holds for found in parity) else 1


if __name__ == "__main__":
    sys.exit(main())
