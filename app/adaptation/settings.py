"""How much footage an adaptation takes, what it tries, and what it must reach."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class FootageSettings:
    """Which frame sets are learned from, and which are not.

    `holdout`: the last part of each session, which is measured on and never trained on. `check`: the last part of the
    hands in the rest, by which is chosen how far to go; not trained on either. `rate_hz`: sets a second at most,
    neighbours of which teach the same. `most_sets` of all sessions together, in blocks of `block_sets` that are spread
    over them. `least_sets` that are learned from and `least_held_sets` that are held out, of each session: with fewer,
    what is measured is chance (real_rig, which is just above, has 66 and 44). `least_hands` that all sessions must
    show.
    """

    holdout: float = 0.25
    check: float = 0.2
    rate_hz: float = 10.0
    most_sets: int = 600
    block_sets: int = 20
    least_sets: int = 40
    least_held_sets: int = 20
    least_hands: int = 40


@dataclass(frozen=True, kw_only=True)
class JudgementSettings:
    """When an adapted network is better, on the sets that were held out.

    Its withheld-view error must be lower by `least_gain` of the packaged one's at least; of the hands it may miss
    `more_missed` more (a share), beside one standard error of that share, and on simulated hands its error may grow by
    `forgotten` (a share). `warmup_s`: the methods run so long before what is measured begins. `most_sets`: measured of
    each session, its last ones. `teacher_sets`: the sets before what is held out, by which is decided who teaches.
    """

    least_gain: float = 0.002
    more_missed: float = 0.01
    forgotten: float = 0.03
    warmup_s: float = 2.0
    most_sets: int = 80
    teacher_sets: int = 40


@dataclass(frozen=True, kw_only=True)
class RoundSettings:
    """How far a round goes. Each crop is shown about `shows` times, in `least_steps` to `most_steps` steps of `batch`,
    `hold_share` of which are simulated hands whose answers are held. `shares` of the way from the network before to the
    trained one are compared: with little footage a small one is best. `rounds` at most; one that lowers the error by
    less than `least_gain` of it is the last."""

    shows: float = 4.0
    least_steps: int = 60
    most_steps: int = 600
    batch: int = 32
    hold_share: float = 0.25
    learning_rate: float = 3e-4
    shares: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    rounds: int = 2
    least_gain: float = 0.005


@dataclass(frozen=True, kw_only=True)
class AdaptSettings:
    footage: FootageSettings = field(default_factory=FootageSettings)
    round: RoundSettings = field(default_factory=RoundSettings)
    judgement: JudgementSettings = field(default_factory=JudgementSettings)
    hands: int = 2
    seed: int = 0
