"""`usthand adapt`: the network learns a rig from recordings of it, and proves on held-out footage that it is better."""

import argparse
import importlib.util
import json
import logging
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from app.commands.common import add_command, checkpoint_of
from app.run.settings import MOST_HANDS
from calibration.cached_folder import user_cache
from calibration.errors import UserError, pasted
from calibration.session import Session, check_session
from deploy.artefact.cached_export import missing_to_export
from models.files.labels import Labels, read_labels
from models.weights import checkpoint_path

log = logging.getLogger(__name__)

_ROWS = {
    "withheld_px_median": "withheld view, px",
    "withheld_percent_median": "% of the hand's size",
    "withheld_percent_with_missed": "mean %, with missed hands",
    "withheld_missed": "hands missed",
    "bone_length_cv_mean": "bone-length variation",
    "jitter_mm": "jitter at rest, mm",
    "leave_one_out_px_median": "leave-one-out, px",
    "true_mm": "true error, mm (simulated)",
}


def add_parser(subparsers) -> None:
    parser = add_command(
        subparsers,
        "adapt",
        run,
        "let the network learn a rig from your own recordings of it; a part of each is held out, and what was "
        "learned is kept only where it is better there",
        "  usthand adapt session/ -o mine            # Ctrl-C interrupts; the same command goes on\n"
        "  usthand adapt monday/ tuesday/ -o mine --holdout 0.3 --json\n"
        "  usthand live rig.yaml --estimator ust-hand --checkpoint mine",
    )
    parser.add_argument(
        "sessions", type=Path, nargs="+", metavar="SESSION", help="recorded sessions, of one rig or more"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="the folder to make")
    parser.add_argument(
        "--checkpoint", default="shipped", metavar="C", help="what to begin from, of recipe `live` (default: shipped)"
    )
    parser.add_argument(
        "--holdout", type=float, default=0.25, metavar="FRACTION",
        help="the last part of each session, never trained on (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--rounds", type=int, default=2, metavar="N", help="label and learn so often at most (default: %(default)s)"
    )
    hands = range(1, MOST_HANDS + 1)
    parser.add_argument("--hands", type=int, choices=hands, default=2, metavar="N", help="at most, 1 to 8 (default: 2)")
    parser.add_argument(
        "--own-labels", action="store_true",
        help="let each session's labels.npz teach, too, which another program made: `usthand label SESSION --from "
        "openpose DIR` takes them over",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    _check(args)
    # What renders simulated hands takes seconds to import.
    from app.adaptation.adapt import Adaptation, StepFailed
    from app.adaptation.footage import plan_footage
    from app.adaptation.settings import AdaptSettings, FootageSettings, RoundSettings
    from app.adaptation.work import check_output, made_of, own_work_folder
    from models.simulation.rendering_pool import usable_cores

    check_output(args.output)
    sessions = [_session(path) for path in args.sessions]
    labels = [_labels(session, args.own_labels) for session in sessions]
    settings = AdaptSettings(
        footage=FootageSettings(holdout=args.holdout),
        round=RoundSettings(rounds=args.rounds),
        hands=args.hands,
        seed=args.seed,
    )
    most = settings.footage.most_sets // len(sessions)
    footages = [plan_footage(session, most, settings.footage) for session in sessions]
    weights = checkpoint_path(args.checkpoint)
    engine = checkpoint_of(argparse.Namespace(estimator="ust-hand", checkpoint=args.checkpoint, engine="auto"))
    of = made_of(sessions, settings, weights, args.own_labels)
    with own_work_folder(args.output, of) as work, _Bars() as bars:
        if work.goes_on:
            log.info("%s: goes on where it was interrupted", args.output)
        adaptation = Adaptation(
            footages=footages,
            weights=weights,
            engine=engine,
            work=work,
            settings=settings,
            labels=labels,
            cache=user_cache(),
            workers=usable_cores(),
            progress=bars.advance,
        )
        try:
            summary = adaptation.run()
        except KeyboardInterrupt:
            log.info("%s: interrupted; the same command goes on where it was", args.output)
            raise
        except StepFailed as error:
            log.error("usthand: %s. The same command goes on where it was.", error)
            return 1
    _print(summary, args.output)
    if args.json:
        print(json.dumps(summary, allow_nan=False))
    return 1 if summary["refused"] else 0


def _check(args: argparse.Namespace) -> None:
    for library in ("torch", "safetensors", *missing_to_export()):
        if importlib.util.find_spec(library) is None:
            raise UserError(
                f"an adaptation needs {library}, which is not installed. Install it: pip install "
                "'usthand-live[train,export]'"
            )
    if not 0.05 <= args.holdout <= 0.6:
        raise UserError(f"`--holdout {args.holdout}`: give a share from 0.05 to 0.6, such as 0.25.")
    if args.rounds < 1 or args.seed < 0:
        raise UserError("`--rounds` is 1 or more, and `--seed` a whole number from 0.")
    if len({path.resolve() for path in args.sessions}) < len(args.sessions):
        raise UserError("a session is named twice. Name each once.")


def _session(path: Path) -> Session:
    """Raises UserError where it is none, has too few cameras, or has labels of another calibration."""
    session = check_session(path)
    if len(session.camera_ids) < 3:
        raise UserError(
            f"{path}: has {len(session.camera_ids)} cameras. An adaptation is judged in a view that had no part in it, "
            "which takes three or more."
        )
    labels = path / "labels.npz"
    if labels.is_file() and read_labels(labels, len(session.camera_ids)).rig_id not in ("", session.rig.rig_id):
        raise UserError(
            f"{path}: its labels were made with another calibration than its rig.yaml. Is that of this recording? "
            f"Label it again: `usthand label {pasted(path)}`."
        )
    return session


def _labels(session: Session, wanted: bool) -> Labels | None:
    """Raises UserError where they are wanted and cannot teach."""
    path = session.path / "labels.npz"
    if not wanted:
        return None
    if not path.is_file():
        raise UserError(
            f"{session.path}: has no labels.npz to learn from. Write it, as `usthand label {pasted(session.path)} "
            "--from openpose DIR` does, or leave `--own-labels` out."
        )
    labels = read_labels(path, len(session.camera_ids))
    if labels.source in ("mediapipe", "ust-hand"):
        raise UserError(
            f"{path}: are by {labels.source}, whose hands are learned from anyway. Leave `--own-labels` out, or label "
            f"with another program: `usthand label {pasted(session.path)} --from openpose DIR`."
        )
    return labels


class _Bars:
    """One bar at a time on a terminal, of the step that is being made."""

    def __init__(self) -> None:
        self._title, self._bar = "", None

    def __enter__(self) -> "_Bars":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, title: str, done: int, total: int | None) -> None:
        """`done` more, or of a known `total` so much in all."""
        if self._bar is None or title != self._title:
            self.__exit__()
            log.info("%s", title)
            self._title, self._bar = title, tqdm(desc=title, total=total, file=sys.stderr, disable=None)
        self._bar.update(done if total is None else done - self._bar.n)


def _print(summary: dict[str, Any], output: Path) -> None:
    print(f"learned from {summary['hands_learned']} hands in {summary['sets_learned']} frame sets")
    held = summary.get("held_out")
    if held:
        print(f"on {held['sets']} sets that were held out: {'':14}{'packaged':>10}{'adapted':>10}{'mediapipe':>10}")
        for key, title in _ROWS.items():
            if key == "true_mm" and held["packaged"][key] is None:
                continue
            cells = "".join(f"{_cell(held[name][key], key):>10}" for name in ("packaged", "adapted", "mediapipe"))
            print(f"  {title:41}{cells}")
    simulated = summary.get("simulated")
    if simulated:
        cells = "".join(f"{simulated[name]['mpjpe_mm']:>10}" for name in ("packaged", "adapted"))
        print(f"  {'simulated hands, mm':41}{cells}")
    if summary["refused"]:
        print(f"refused: {summary['refused']}. Nothing was written.")
        return
    print(
        f"{output}: `usthand live RIG --estimator ust-hand --checkpoint {pasted(output)}` ({summary['seconds']:.0f} s)"
    )


def _cell(value: float | None, key: str) -> str:
    if value is None:
        return "-"
    return f"{value:.1%}" if key == "withheld_missed" else f"{value:.3g}"
