"""When videos without time stamps began, one against the other: from their sound, a flash, or what moves in them."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from app.syncing.correlation import Shift, evened, normalised_shift, whitened_shift
from app.syncing.methods import SyncMethod
from app.syncing.signals import SOUND_HZ, VideoSignals, read_signals, read_sound
from calibration.errors import UserError
from calibration.importers.recording import ForeignRecording

_MOST_FRAMES_APART = 1.5
_SOUND_APART_S = 0.03
_SHORTEST_S = 2.0
_BAND_HZ = (100.0, 0.45 * SOUND_HZ)


@dataclass(frozen=True, kw_only=True)
class DistinctSettings:
    """What counts as distinct. `*_seconds`: of the beginning of each video that are looked at. `sound_height`: of the
    peak of the whitened correlation, in its standard deviations; noise alone reaches 6 in millions of lags. `*_ratio`:
    of the peak to the next one. `clap_ratio`: where one short sound is all there is; two different ones correlate
    within 20 ms, with a ratio of up to 1.7. `flash_jump`: of the mean grey level, in robust standard deviations of its
    changes; `flash_levels`: and in grey levels; `flash_share` of the frames may have one. `motion_height`: a
    correlation coefficient; that of views of noise reached 0.24, with a ratio of 1.12, that of three views of simulated
    hands over 9 s was 0.52 to 0.64, with 1.5 to 2.3. `overlap`: share of the shorter video that must be compared."""

    sound_seconds: float = 300.0
    video_seconds: float = 120.0
    sound_height: float = 12.0
    sound_ratio: float = 1.5
    clap_ratio: float = 2.0
    flash_jump: float = 8.0
    flash_levels: float = 3.0
    flash_share: float = 0.1
    flash_height: float = 0.35
    flash_ratio: float = 1.3
    motion_height: float = 0.45
    motion_ratio: float = 1.3
    overlap: float = 0.3


@dataclass(frozen=True, kw_only=True)
class Synchronisation:
    """`begin_s`: when each camera's video began, the first of them at 0. `error_s`: how far it may be off.
    `distinctness`: of the least distinct peak that was used, over the next one."""

    method: SyncMethod
    begin_s: Mapping[str, float]
    error_s: Mapping[str, float]
    distinctness: float

    def said(self) -> str:
        """For a person."""
        begun = ", ".join(f"{name} {self.begin_s[name] * 1e3:.1f} ms" for name in self.begin_s)
        error_ms = max(self.error_s.values()) * 1e3
        more = {
            "sound": "A metre that a camera is farther from the sound makes 3 ms.",
            "flash": _REFINE,
            "motion": _REFINE,
        }
        return (
            f"Begun, by their {_SAID[self.method]}: {begun} (to about {error_ms:.1f} ms; the peak is "
            f"{self.distinctness:.1f} times the next). {more[self.method]}"
        )


_REFINE = "`usthand replay SESSION --estimate-offsets` finds the rest from the hands themselves."
_SAID = {"sound": "sound", "flash": "flashes", "motion": "motion"}


class NotDistinct(Exception):
    """Why a method tells nothing of these videos."""


def synchronise(
    recording: ForeignRecording, methods: tuple[SyncMethod, ...], settings: DistinctSettings | None = None
) -> Synchronisation:
    """By the first of `methods` that is distinct. Raises UserError, with what each lacks, where none is."""
    settings = settings or DistinctSettings()
    signals: dict[str, VideoSignals] = {}
    said = []
    for method in methods:
        try:
            if method == "sound":
                return _by_sound(recording.videos, settings)
            signals = signals or {
                name: read_signals(video, _first(recording.frame_times_ns[name] * 1e-9, settings.video_seconds))
                for name, video in recording.videos.items()
            }
            return (_by_flash if method == "flash" else _by_motion)(signals, settings)
        except NotDistinct as error:
            said.append(f"{method}: {error}")
    raise UserError(
        f"{recording.times_file}: when its videos began, one against the other, is not told by "
        f"{'; '.join(said)}. Clap, or switch the light off and on, within the first two minutes of each recording; or "
        "give `--sync none` where all videos begin at the same moment."
    )


def _first(times_s: np.ndarray, seconds: float) -> np.ndarray:
    return times_s[times_s < seconds]


def with_begins(recording: ForeignRecording, found: Synchronisation) -> ForeignRecording:
    """The recording with times that count from when its first video began."""
    times_ns = {name: times + round(found.begin_s[name] * 1e9) for name, times in recording.frame_times_ns.items()}
    clock = f"the videos' own, whose begins are known by their {_SAID[found.method]}"
    return replace(recording, frame_times_ns=times_ns, clock=clock)


def _by_sound(videos: Mapping[str, Path], settings: DistinctSettings) -> Synchronisation:
    sounds = {}
    for name, video in videos.items():
        sound = read_sound(video, settings.sound_seconds)
        if sound is None:
            raise NotDistinct(f"`{name}` has none")
        sounds[name] = sound
    even = {name: (begin_s, evened(sound, SOUND_HZ)) for name, (begin_s, sound) in sounds.items()}
    try:
        return _by_heard(even, (settings.sound_height, settings.sound_ratio), apart_s=0.05)
    except NotDistinct:
        return _by_heard(sounds, (settings.sound_height, settings.clap_ratio), apart_s=0.002)


def _by_heard(
    sounds: Mapping[str, tuple[float, np.ndarray]], distinct: tuple[float, float], apart_s: float
) -> Synchronisation:
    def shift(first: str, second: str) -> Shift:
        (begin_a, a), (begin_b, b) = sounds[first], sounds[second]
        found = whitened_shift(a, b, SOUND_HZ, _BAND_HZ, apart_s)
        return replace(found, seconds=found.seconds + begin_a - begin_b)

    return _joined("sound", list(sounds), shift, distinct, _SOUND_APART_S, least_error_s=0.0)


def _by_flash(signals: Mapping[str, VideoSignals], settings: DistinctSettings) -> Synchronisation:
    rate_hz, jumps = _common_rate(signals), {}
    for name, of_video in signals.items():
        change = np.diff(of_video.brightness, prepend=of_video.brightness[:1])
        spread = 1.4826 * float(np.median(np.abs(change - np.median(change)))) + 1e-3
        strong = np.abs(change) > max(settings.flash_jump * spread, settings.flash_levels)
        if not strong.any():
            raise NotDistinct(f"in `{name}` the light does not change at once")
        if strong.mean() > settings.flash_share:
            raise NotDistinct(f"in `{name}` the light changes all the time")
        jumps[name] = _resampled(of_video.times_s, np.where(strong, change, 0.0), rate_hz)

    def shift(first: str, second: str) -> Shift:
        return normalised_shift(jumps[first], jumps[second], rate_hz, settings.overlap, apart_s=3 / rate_hz * 4)

    frame_s, distinct = _slowest_s(signals), (settings.flash_height, settings.flash_ratio)
    return _joined("flash", list(signals), shift, distinct, _MOST_FRAMES_APART * frame_s, least_error_s=frame_s / 2)


def _by_motion(signals: Mapping[str, VideoSignals], settings: DistinctSettings) -> Synchronisation:
    rate_hz = _common_rate(signals)
    moving = {name: _resampled(each.times_s, np.log1p(each.motion), rate_hz) for name, each in signals.items()}
    if (
        still := next((name for name, each in signals.items() if each.motion.max(initial=0.0) < 0.05), None)
    ) is not None:
        raise NotDistinct(f"in `{still}` nothing moves")

    def shift(first: str, second: str) -> Shift:
        return normalised_shift(moving[first], moving[second], rate_hz, settings.overlap, apart_s=0.25)

    frame_s, distinct = _slowest_s(signals), (settings.motion_height, settings.motion_ratio)
    return _joined("motion", list(signals), shift, distinct, _MOST_FRAMES_APART * frame_s, least_error_s=frame_s)


def _common_rate(signals: Mapping[str, VideoSignals]) -> float:
    """Four samples in a frame of the fastest camera. Raises NotDistinct for a video that is too short."""
    for name, each in signals.items():
        if len(each.times_s) < 2 or each.times_s[-1] < _SHORTEST_S:
            raise NotDistinct(f"`{name}` is shorter than {_SHORTEST_S:g} s")
    return 4 / min(float(np.median(np.diff(each.times_s))) for each in signals.values())


def _slowest_s(signals: Mapping[str, VideoSignals]) -> float:
    """The time between two frames of the slowest camera."""
    return max(float(np.median(np.diff(each.times_s))) for each in signals.values())


def _resampled(times_s: np.ndarray, changes: np.ndarray, rate_hz: float) -> np.ndarray:
    """Changes (n,) between frames, each of which happened in the middle of the time since the frame before."""
    grid_s = np.arange(0.0, times_s[-1], 1 / rate_hz)
    return np.interp(grid_s, times_s - 0.5 * float(np.median(np.diff(times_s))), changes)


def _joined(
    method: SyncMethod,
    names: list[str],
    shift: Callable[[str, str], Shift],
    distinct_from: tuple[float, float],
    apart_s: float,
    least_error_s: float,
) -> Synchronisation:
    """The begins that fit the shifts of all distinct pairs best. Raises NotDistinct where these leave one out, or
    contradict each other by more than `apart_s`. `distinct_from`: a peak's least height, and ratio to the next."""
    least_height, least_ratio = distinct_from
    found = {pair: shift(*pair) for pair in itertools.combinations(names, 2)}
    distinct = {pair: each for pair, each in found.items()
                if each.height >= least_height and each.distinctness >= least_ratio}  # fmt: skip
    left_out = set(names) - _reached(names[0], distinct)
    if left_out:
        name = min(left_out)
        best = max((each.distinctness for pair, each in found.items() if name in pair), default=0.0)
        raise NotDistinct(f"of `{name}` no moment stands out (the best peak is {best:.2f} times the next)")
    rows = np.zeros((len(distinct) + 1, len(names)))
    rows[-1, 0] = 1.0
    for row, (first, second) in zip(rows, distinct, strict=False):
        row[names.index(first)], row[names.index(second)] = -1.0, 1.0
    wanted = np.array([*(each.seconds for each in distinct.values()), 0.0])
    begin_s = np.linalg.lstsq(rows, wanted, rcond=None)[0]
    apart = np.abs(rows @ begin_s - wanted)[:-1]
    if apart.max() > apart_s:
        worst = list(distinct)[int(apart.argmax())]
        raise NotDistinct(f"`{worst[0]}` and `{worst[1]}` contradict the others by {apart.max() * 1e3:.0f} ms")
    errors_s = {
        pair: max(miss, least_error_s or each.width_s)
        for miss, (pair, each) in zip(apart, distinct.items(), strict=True)
    }
    error_s = {name: max(float(each) for pair, each in errors_s.items() if name in pair) for name in names}
    begin_s -= begin_s.min()
    return Synchronisation(
        method=method,
        begin_s=dict(zip(names, begin_s.tolist(), strict=True)),
        error_s=error_s,
        distinctness=min(each.distinctness for each in distinct.values()),
    )


def _reached(start: str, pairs: Mapping[tuple[str, str], Shift]) -> set[str]:
    reached, size = {start}, 0
    while size < len(reached):
        size = len(reached)
        for pair in pairs:
            if reached & set(pair):
                reached |= set(pair)
    return reached
