"""The adaptation of the network to a rig: from its recordings to an exported checkpoint that is better there, or not.

The network labels the footage with all views together (app/adaptation/teacher.py), its landmark network learns these
labels from single pictures (models/training/adapt.py) and labels anew, while that lowers the error on sets that were
not learned from. What comes of it is measured on the last part of each session, beside the network before and
MediaPipe, and on simulated hands.
"""

import logging
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from app.adaptation.check import CheckedRound, withheld_percent
from app.adaptation.crops import cut_crops, label_crops, read_places, to_image
from app.adaptation.footage import Footage, teaching
from app.adaptation.judgement import (
    ADAPTED,
    MEDIAPIPE,
    PACKAGED,
    forgets,
    measure_footage,
    measure_simulated,
    refusal,
)
from app.adaptation.own_labels import taught_by_all, taught_by_views
from app.adaptation.rehearsal import REHEARSAL, TEST, simulated_crops
from app.adaptation.settings import AdaptSettings
from app.adaptation.teacher import Taught, seen_again
from app.adaptation.work import WorkFolder
from app.estimators.seen_check import check_seen
from app.labelling.find_hands import find_hands
from app.labelling.label_sources import LabelSources
from app.labelling.stretch import Stretch
from app.worker.statistics import rounded
from calibration.errors import UserError
from calibration.programs import run_program
from models.data.generate import GenerateSettings
from models.files.labels import Labels
from models.files.npzfile import read_npz

log = logging.getLogger(__name__)

WEIGHTS = "adapted.safetensors"
_ADVICE = "Start the adaptation again."


class StepFailed(Exception):
    """A program that makes a step has failed; it has said why."""


@dataclass(kw_only=True)
class Adaptation:
    """What is adapted to which footage: `weights`, the file of a checkpoint of recipe `live`, which `engine` runs (its
    exported directory). `labels` are the sessions' own, None where they are not to teach. `cache` is where simulated
    hands are kept, `workers` render them. `progress` is told of a step's title, how much more of it is done and, where
    that is known, how much there is."""

    footages: Sequence[Footage]
    weights: Path
    engine: str
    work: WorkFolder
    settings: AdaptSettings
    labels: Sequence[Labels | None]
    cache: Path
    workers: int
    progress: Callable[[str, int, int | None], object]
    began: float = field(default_factory=time.monotonic)
    teaches: list[np.ndarray] = field(default_factory=list)

    def run(self) -> dict[str, Any]:
        """The summary. Its `refused` says why there is no output, None where there is one.

        Raises UserError for footage that nothing can be learned from, StepFailed, OSError and KeyboardInterrupt, after
        which the same adaptation goes on where it was.
        """
        hands = [self._find("found", number, self.engine) for number in range(len(self.footages))]
        self.teaches = [teaching(each.time_ns, self.settings.footage.check) for each in hands]
        learned = sum(int(each.sum()) for each in self.teaches)
        summary: dict[str, Any] = {
            "sessions": [str(each.session.path) for each in self.footages],
            "output": str(self.work.out),
            "sets_learned": int(sum(each.sets[0] for each in hands)),
            "hands_learned": learned,
        }
        self._check(hands, learned)
        summary["teacher"] = teacher = self._teacher()
        rounds, ways = self._rounds(hands, teacher)
        summary["rounds"] = [each.figures() for each in rounds]
        if not ways:
            return self._refused(summary, "what it learned does not lower the error on sets that it did not learn")
        checkpoint, found = self._remembering(ways)
        summary |= found
        reason = forgets(summary["simulated"], self.settings.judgement)
        if reason is not None:
            return self._refused(summary, reason)
        result = self.work.step("result", lambda folder: self._export(folder, checkpoint))
        summary["held_out"] = self.work.figures("held_out", lambda: self._measure_footage(result))
        reason = refusal(summary["held_out"], self.settings.judgement)
        if reason is not None:
            return self._refused(summary, reason)
        summary |= {"refused": None, "seconds": rounded(time.monotonic() - self.began)}
        self.work.finish(result, summary)
        return summary

    def _refused(self, summary: dict[str, Any], reason: str) -> dict[str, Any]:
        self.work.remove()
        return summary | {"refused": reason, "seconds": rounded(time.monotonic() - self.began)}

    def _find(self, name: str, number: int, checkpoint: str) -> Stretch:
        """The hands of a session's learning sets, as a checkpoint sees them with all views."""
        footage = self.footages[number]
        title = "looking for hands" if name == "found" else "looking again"

        def find(folder: Path) -> None:
            parts = self.work.path / f".parts_{name}_{number}"
            with LabelSources("ust-hand", hands=self.settings.hands, checkpoint=checkpoint) as sources:
                hands = find_hands(
                    footage.session,
                    sources.source_of(footage.session),
                    parts,
                    lambda sets: self.progress(title, sets, None),
                    chosen=footage.learning_sets(),
                )
            hands.write(folder / "hands.npz")

        return Stretch.read(self.work.step(f"{name}_{number}", find) / "hands.npz")

    def _check(self, hands: Sequence[Stretch], learned: int) -> None:
        """Raise UserError, and leave nothing behind, where there is too little to learn from."""
        try:
            for footage, found in zip(self.footages, hands, strict=True):
                names = footage.session.camera_ids
                seen = found.found if not len(found) else found.seen.sum(0)
                check_seen(str(footage.session.path), dict(zip(names, seen.tolist(), strict=True)))
            least = self.settings.footage.least_hands
            if learned < least:
                raise UserError(
                    f"{learned} hands are seen in the sets to learn from, fewer than {least}. Record for longer, with "
                    "hands that two cameras or more see."
                )
        except UserError:
            self.work.remove()
            raise

    def _teacher(self) -> str:
        """Who sees hands better where nothing is held out yet, with all views but one: the network, or MediaPipe's
        keypoints triangulated. On hands unlike those that it was trained on, the network corrects what was right."""
        settings = self.settings.judgement
        stretches = [(each, each.before_held_out(settings.teacher_sets)) for each in self.footages]
        found = self.work.figures(
            "teachers", lambda: self._measured("who is to teach", stretches, {PACKAGED: self.engine})
        )
        network, detector = (found[name]["withheld_percent_with_missed"] for name in (PACKAGED, MEDIAPIPE))
        log.info("in a withheld view the network is %s %% of the hand off, the detector %s %%", network, detector)
        return MEDIAPIPE if detector is not None and (network is None or detector < network) else PACKAGED

    def _rounds(self, hands: Sequence[Stretch], teacher: str) -> tuple[list[CheckedRound], list[tuple[Path, float]]]:
        """The rounds, and of the best one its weights with each share of the way to them that is better than none, the
        best first; none where no round is better."""
        settings = self.settings.round
        held = self._simulated(REHEARSAL, self.weights)
        rigs = [each.rig for each in self.footages]
        by_views = [taught_by_views(*each) for each in zip(rigs, hands, self.labels, strict=True)]
        taught = by_views
        if teacher == PACKAGED:
            taught = [taught_by_all(*each) for each in zip(hands, by_views, self.labels, strict=True)]
        cache = self.work.step("crops", lambda folder: self._cut(folder, hands, taught))
        rounds: list[CheckedRound] = []
        ways: list[tuple[Path, float]] = []
        least, start = np.inf, None
        for number in range(settings.rounds):
            folder = self.work.path / f"round_{number}"
            if not (folder / "points.npz").is_file():
                self._label(cache, hands, taught)
                self._train(cache, folder, held, start)
            rounds.append(self._checked(cache, folder, hands, taught))
            _, error = rounds[-1].best
            log.info("round %d: %.2f %% of the hand's size off in a withheld view, %.2f %% before", number + 1, error,
                     rounds[-1].before)  # fmt: skip
            if error > (1 - settings.least_gain) * min(least, rounds[0].before):
                break
            least, start = error, folder / "weights.safetensors"
            ways = [(start, each) for each in rounds[-1].better()]
            if number + 1 < settings.rounds:
                taught = self._taught_again(number, hands, by_views, teacher, ways[0])
        return rounds, ways

    def _taught_again(
        self,
        number: int,
        hands: Sequence[Stretch],
        by_views: Sequence[Taught],
        teacher: str,
        best: tuple[Path, float],
    ) -> list[Taught]:
        """What the result of a round and the detector say together."""
        if teacher == MEDIAPIPE:
            return self._with_student(hands, best)
        checkpoint = self._checkpoint(best)
        again = [self._find(f"again_{number}", each, str(checkpoint / WEIGHTS)) for each in range(len(hands))]
        later = [seen_again(*each) for each in zip(hands, again, strict=True)]
        return [taught_by_all(*each) for each in zip(later, by_views, self.labels, strict=True)]

    def _with_student(self, hands: Sequence[Stretch], best: tuple[Path, float]) -> list[Taught]:
        """What the detector and the adapted landmark network say together of each view, triangulated."""
        weights, share = best
        points = read_npz(weights.with_name("points.npz"), "what a round learned", _ADVICE)
        which, first, taught = 1 + self.settings.round.shares.index(share), 0, []
        for number, (footage, found) in enumerate(zip(self.footages, hands, strict=True)):
            places = read_places(self.work.path / "crops", number)
            own = slice(first, first + len(places.hand))
            first = own.stop
            said = to_image(footage.rig, found, places, points["points_px"][which, own], points["presence"][which, own])
            taught.append(taught_by_views(footage.rig, found, self.labels[number], said))
        return taught

    def _cut(self, folder: Path, hands: Sequence[Stretch], taught: Sequence[Taught]) -> None:
        views = max(len(each.rig.cameras) for each in self.footages)
        for number, (footage, found, each) in enumerate(zip(self.footages, hands, taught, strict=True)):
            cut_crops(folder, number, views, footage, found, each, lambda: self.progress("cutting out hands", 1, None))

    def _label(self, cache: Path, hands: Sequence[Stretch], taught: Sequence[Taught]) -> None:
        for number, (footage, found, each) in enumerate(zip(self.footages, hands, taught, strict=True)):
            label_crops(cache, number, footage.rig, found, each, self.teaches[number])

    def _train(self, cache: Path, folder: Path, held: Path, start: Path | None) -> None:
        settings = self.settings.round
        crops = sum(len(read_places(cache, number).hand) for number in range(len(self.footages)))
        taught = settings.batch * (1 - settings.hold_share)
        steps = int(np.clip(settings.shows * crops / taught, settings.least_steps, settings.most_steps))
        options = {
            "--original": self.weights, "--start": start or self.weights, "--hold": held, "--steps": steps,
            "--batch": settings.batch, "--hold-share": settings.hold_share, "--learning-rate": settings.learning_rate,
            "--seed": self.settings.seed,
        }  # fmt: skip
        words = [str(word) for option in options.items() for word in option]
        shares = ["--shares", "0", *map(str, settings.shares)]
        self._run("models.training.adapt", str(cache), str(folder), *words, *shares)

    def _checked(self, cache: Path, folder: Path, hands: Sequence[Stretch], taught: Sequence[Taught]) -> CheckedRound:
        points = read_npz(folder / "points.npz", "what a round learned", _ADVICE)
        first, parts = 0, []
        for number, (footage, found, each) in enumerate(zip(self.footages, hands, taught, strict=True)):
            places = read_places(cache, number)
            own = slice(first, first + len(places.hand))
            first = own.stop
            of_session = points["points_px"][:, own], points["presence"][:, own]
            parts.append(
                withheld_percent(footage.rig, found, ~self.teaches[number], each.velocity_m_s, places, *of_session)
            )
        errors = np.concatenate(parts, axis=1)
        if not errors.size:
            return CheckedRound(before=np.inf, after={1.0: np.inf})
        before, *after = errors.mean(1).tolist()
        return CheckedRound(before=before, after=dict(zip(self.settings.round.shares, after, strict=True)))

    def _remembering(self, ways: Sequence[tuple[Path, float]]) -> tuple[Path, dict[str, Any]]:
        """The first of the ways that forgets no other hands, or else the last: its checkpoint, `share`, and what it is
        worth on `simulated` hands."""
        for way in ways:
            checkpoint = self._checkpoint(way)
            name = f"simulated_{checkpoint.name}"
            simulated = self.work.figures(name, partial(self._measure_simulated, checkpoint / WEIGHTS))
            reason = forgets(simulated, self.settings.judgement)
            if reason is None or way is ways[-1]:
                return checkpoint, {"share": way[1], "simulated": simulated}
            log.info("%.0f %% of the way: %s", 100 * way[1], reason)
        raise ValueError("no way is given")

    def _checkpoint(self, way: tuple[Path, float]) -> Path:
        """The folder of a checkpoint with the landmark network of a round, so much of the way to it."""
        weights, share = way

        def put(folder: Path) -> None:
            words = str(self.weights), str(weights), str(share), str(folder / WEIGHTS)
            self._run("models.training.put_landmarks", *words)

        return self.work.step(f"checkpoint_{weights.parent.name}_{share}", put)

    def _export(self, folder: Path, checkpoint: Path) -> None:
        """The checkpoint, exported, with its weights beside."""
        shutil.copyfile(checkpoint / WEIGHTS, folder / WEIGHTS)
        self._run("deploy.export", str(folder / WEIGHTS), str(folder))

    def _measure_footage(self, result: Path) -> dict[str, Any]:
        stretches = [(each, each.held_out(self.settings.judgement.most_sets)) for each in self.footages]
        return self._measured("what was held out", stretches, {PACKAGED: self.engine, ADAPTED: str(result)})

    def _measured(
        self, title: str, stretches: Sequence[tuple[Footage, tuple[int, int]]], checkpoints: Mapping[str, str]
    ) -> dict[str, Any]:
        settings = self.settings
        advance = partial(self.progress, f"measuring: {title}", 1, None)
        return measure_footage(stretches, checkpoints, settings.judgement, settings.hands, advance)

    def _measure_simulated(self, adapted: Path) -> dict[str, Any]:
        packaged = self.work.figures("simulated", lambda: self._error_mm(self.weights))
        return {PACKAGED: packaged, ADAPTED: self._error_mm(adapted)}

    def _error_mm(self, checkpoint: Path) -> dict[str, Any]:
        found = measure_simulated(str(checkpoint), self._simulated(TEST, None))
        if found is None:
            raise StepFailed("the evaluation on simulated hands failed")
        return found

    def _simulated(self, settings: GenerateSettings, weights: Path | None) -> Path:
        advance = partial(self.progress, "simulated hands")
        try:
            return simulated_crops(self.cache, settings, weights, self.workers, advance)
        except BrokenProcessPool:
            raise StepFailed("a rendering process died, perhaps for lack of memory") from None

    def _run(self, module: str, *words: str) -> None:
        if run_program([sys.executable, "-m", module, *words]):
            raise StepFailed(f"{module} failed; its message is above")
