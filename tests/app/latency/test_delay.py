"""Films of the panel with a known delay: the code is read as a lens would show it, and the delay recovered."""

import cv2
import numpy as np
import pytest

from app.latency.delay import DelayEstimate, ScreenTimes
from app.latency.panel import CODES, HEIGHT, WIDTH, Panel, bits_of, from_gray, gray
from app.latency.reading import CodeSeen, PanelReader

WITHIN_MS = 2.0
MODULE_PX = 20


def filmed(panel: np.ndarray, width_px: int = 200, seed: int = 0, light: float = 1.0) -> np.ndarray:
    """The panel in perspective, `width_px` wide, blurred and noisy, as a grey picture of 640x480."""
    random = np.random.default_rng(seed)
    height_px = width_px * HEIGHT / WIDTH
    corners = np.array([[0, 0], [1, 0.12], [0.93, 1.0], [0.07, 0.9]]) * [width_px, height_px] + [220.3, 140.7]
    size = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * [panel.shape[1], panel.shape[0]] - 0.5
    to_pixels = cv2.getPerspectiveTransform(size.astype(np.float32), corners.astype(np.float32))
    # Reduced first, as a lens does it, so that no line is lost between two pixels.
    picture = cv2.warpPerspective(panel, to_pixels, (640, 480), flags=cv2.INTER_AREA, borderValue=(60,))
    picture = cv2.GaussianBlur(picture, (0, 0), 0.7).astype(np.float64) * light
    return np.clip(picture + random.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)


def test_each_code_differs_from_the_next_in_one_bit_but_for_the_check() -> None:
    assert sorted({gray(number) for number in range(CODES)}) == list(range(CODES))
    for number in range(CODES):
        assert from_gray(gray(number)) == number
        assert (gray(number) ^ gray((number + 1) % CODES)).bit_count() == 1
    assert np.array_equal(bits_of(CODES + 5), bits_of(5))


@pytest.mark.parametrize("width_px", [90, 160, 400])
@pytest.mark.parametrize("light", [0.5, 1.0, 1.4])
def test_a_code_is_read_in_perspective_light_and_noise(width_px: int, light: float) -> None:
    panel = Panel(MODULE_PX)
    for number in (0, 1, 1023, 2730, CODES - 1):
        seen = PanelReader().read(filmed(panel.draw(number), width_px, number, light))
        assert seen == CodeSeen(number), (number, seen)


def test_what_is_no_panel_is_not_read() -> None:
    random = np.random.default_rng(0)
    assert PanelReader().read(random.integers(0, 255, (480, 640, 3), np.uint8)) is None
    covered = filmed(Panel(MODULE_PX).draw(5), 300)
    covered[:, 380:] = 128
    assert PanelReader().read(covered) is None


def test_no_picture_over_a_change_is_read_as_another_code() -> None:
    """Exposed over any part of a change, it is one of the two, or none."""
    panel = Panel(MODULE_PX)
    for number in (6, 7, 15, 31, 255, 2047, CODES - 1):
        following = (number + 1) % CODES
        for share in np.linspace(0, 1, 9):
            mixed = ((1 - share) * panel.draw(number) + share * panel.draw(following)).astype(np.uint8)
            seen = PanelReader().read(filmed(mixed, 160, number))
            assert seen in (None, CodeSeen(number), CodeSeen(following), CodeSeen(number, changing=True))
            if share in (0, 1):
                assert seen == CodeSeen(following if share else number)


class Film:
    """A screen with a new code at irregular times, and a camera that exposes and delivers."""

    def __init__(self, seed: int, step_ms: float = 20.0, seconds: float = 9.0) -> None:
        self.random = np.random.default_rng(seed)
        steps_ms = self.random.uniform(0.6, 1.4, round(seconds * 1e3 / step_ms)) * step_ms
        self.shown_ns = 10**12 + np.round(np.cumsum(steps_ms) * 1e6).astype(np.int64)
        self.first = int(self.random.integers(CODES))
        self.times = ScreenTimes()
        for place, time_ns in enumerate(self.shown_ns.tolist()):
            self.times.add(self.first + place, time_ns - 500_000, time_ns + 500_000)
        self.panel = Panel(8)

    def picture(self, middle_ns: float, exposure_ms: float, seed: int) -> np.ndarray:
        """Of an exposure around a moment: the codes of that time, each as long as it was there."""
        begin, end = middle_ns - exposure_ms * 5e5, middle_ns + exposure_ms * 5e5
        first, last = np.searchsorted(self.shown_ns, [begin, end]) - 1
        edges = np.concatenate([[begin], self.shown_ns[first + 1 : last + 1], [end]])
        shares = np.diff(edges) / (end - begin)
        mixed = sum(share * self.panel.draw(self.first + first + place) for place, share in enumerate(shares))
        return filmed(np.asarray(mixed).astype(np.uint8), 160, seed)


@pytest.mark.parametrize(
    ("delay_ms", "jitter_ms", "exposure_ms"),
    [
        pytest.param(18.0, 0.0, 2.0, marks=pytest.mark.slow),
        (73.0, 1.5, 10.0),
        pytest.param(210.0, 6.0, 16.0, marks=pytest.mark.slow),
    ],
)
def test_a_known_delay_and_its_spread_are_recovered(delay_ms: float, jitter_ms: float, exposure_ms: float) -> None:
    film, reader, estimate = Film(seed=3), PanelReader(), DelayEstimate()
    period_ns = 1e9 / 30
    middles_ns = film.shown_ns[2] + 15e6 + np.arange(230) * period_ns
    delays_ms = delay_ms + film.random.normal(0, jitter_ms, len(middles_ns)) if jitter_ms else np.full(230, delay_ms)
    for number, (middle_ns, late_ms) in enumerate(zip(middles_ns, delays_ms, strict=True)):
        seen = reader.read(film.picture(middle_ns, exposure_ms, number))
        if seen is not None:
            estimate.add(film.times, seen, round(middle_ns + late_ms * 1e6))
    assert estimate.pictures > 180
    result = estimate.result()
    assert result is not None
    assert result.mean_ms == pytest.approx(delay_ms, abs=WITHIN_MS)
    assert abs(result.mean_ms - delay_ms) < 4 * result.error_ms + 0.5
    assert result.spread_ms == pytest.approx(jitter_ms, abs=max(1.5, 0.3 * jitter_ms))


def test_many_films_have_the_error_that_is_stated() -> None:
    """Of the intervals alone, without pictures, and with a few that were read wrongly."""
    off = []
    for seed in range(30):
        film, estimate = Film(seed), DelayEstimate()
        for middle_ns in film.shown_ns[2] + np.arange(200) * 1e9 / 30:
            place = int(np.searchsorted(film.shown_ns, middle_ns)) - 1
            wrong = int(film.random.integers(30, 60)) if film.random.random() < 0.01 else 0
            late_ms = 50 + film.random.normal(0, 2)
            estimate.add(film.times, CodeSeen((film.first + place - wrong) % CODES), round(middle_ns + late_ms * 1e6))
        result = estimate.result()
        assert result is not None
        off.append((result.mean_ms - 50) / result.error_ms)
        assert abs(result.mean_ms - 50) < WITHIN_MS
    assert np.sqrt(np.mean(np.square(off))) < 1.6


def test_too_few_pictures_or_codes_that_were_not_shown_say_nothing() -> None:
    film, estimate = Film(seed=1), DelayEstimate()
    now_ns = int(film.shown_ns[-1])
    assert not estimate.add(film.times, CodeSeen((film.first - 5) % CODES), now_ns)
    assert not estimate.add(film.times, CodeSeen((film.first + len(film.shown_ns) - 1) % CODES), now_ns)
    assert not estimate.add(film.times, CodeSeen((film.first + 1) % CODES), now_ns)
    assert not estimate.add(ScreenTimes(), CodeSeen(0), now_ns)
    for _ in range(5):
        assert estimate.add(film.times, CodeSeen((film.first + len(film.shown_ns) - 4) % CODES), now_ns)
    assert estimate.result() is None
