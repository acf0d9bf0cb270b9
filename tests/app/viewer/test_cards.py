"""What the viewer says in words: keys, states of hands and cameras, latency, recording; and its two themes."""

import re
from collections import Counter
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from app.transport.messages import CameraReport, RecordingStatus
from app.viewer import palette
from app.viewer.camera_rates import RollingCameraRates
from app.viewer.hand_card import hand_card
from app.viewer.help_card import help_card
from app.viewer.keys import CTRL, KEYS, MOUSE, SHIFT, Key, codes_of, keys_in
from app.viewer.latency_bar import latency_bar
from app.viewer.panels import Strip
from app.viewer.recording_card import duration, recording_card
from app.viewer.reduced import reduced
from app.viewer.sheet import Sheet, scale_of
from app.viewer.state import Shown, Toggles
from models.simulation.hands import hands_at
from tests.conftest import ROOT
from tests.support.viewer_scene import make_pose, make_rig, make_set, report

SECOND = 1_000_000_000


@pytest.fixture(autouse=True)
def dark() -> Iterator[None]:
    yield
    palette.use("dark")


def amount(picture: np.ndarray, colour: np.ndarray) -> int:
    """How many pixels have about that colour."""
    return int((np.abs(picture - np.array(palette.bgr(colour))).max(axis=2) < 12).sum())


def test_a_key_has_one_meaning_in_each_use_and_the_documentation_has_the_same_table():
    for use in ({"live", "without takes"}, {"live", "takes"}, {"replay", "without takes"}):
        bound = Counter()
        for key in keys_in(use):
            modifier, codes = codes_of(key)
            bound.update((modifier, code) for code in codes)
        assert max(bound.values()) == 1, use
    page = (ROOT / "docs" / "viewer.md").read_text(encoding="utf-8")
    rows = [tuple(cell.strip(" `") for cell in row.split("|")[1:4]) for row in page.splitlines() if "|" in row]
    for key in KEYS:
        use = "" if key.use == "always" else key.use
        assert (key.chord, key.meaning, use) in rows, key
    for chord, meaning in MOUSE:
        assert (chord, meaning, "") in rows, chord


def test_chords_are_the_keys_that_they_name():
    assert codes_of(Key("shift 1 to 9", "save", "")) == (SHIFT, list(range(ord("1"), ord("9") + 1)))
    assert codes_of(Key("ctrl 1 to 8", "through", ""))[0] == CTRL
    assert codes_of(Key("ctrl shift 1 to 8", "", ""))[0] == CTRL | SHIFT
    assert codes_of(Key("q esc", "quit", "")) == (0, [ord("Q"), 256])
    assert codes_of(Key("left right", "step", "")) == (0, [263, 262])
    fields = set(Toggles().states()) | {"help"}
    assert fields <= {key.action for key in KEYS}, "everything that can be switched has a key"


def test_rate_latency_and_losses_of_each_camera_are_those_of_the_last_seconds():
    stats = RollingCameraRates()
    for number in range(300):
        now_ns = number * SECOND // 50
        cameras = {
            "a": msgspec.structs.replace(report(0), frames=number, capture_time_ns=now_ns - 25_000_000, dropped=2),
            "b": CameraReport(state="lost", frames=20, late=1, stale=3, corrupt=1),
        }
        stats.add(make_set(now_ns, 40_000_000, cameras=cameras), now_ns)
    now_ns = 299 * SECOND // 50
    seen, lost = stats.figures("a", now_ns), stats.figures("b", now_ns)
    assert seen.rate_hz == pytest.approx(50) and seen.latency_ms == pytest.approx(25) and seen.lost == 2
    assert lost.rate_hz == 0 and lost.latency_ms is None and lost.lost == 5
    assert stats.figures("a", now_ns + 10 * SECOND).rate_hz is None
    assert stats.figures("unknown", now_ns).lost == 0


def test_a_worker_that_was_started_again_counts_anew():
    stats = RollingCameraRates()
    for number in range(90):
        now_ns, frames = number * SECOND // 30, number if number >= 60 else 5000 + number
        stats.add(make_set(now_ns, cameras={"a": msgspec.structs.replace(report(0), frames=frames)}), now_ns)
    assert stats.figures("a", now_ns).rate_hz == pytest.approx(30)


def test_a_recordings_times_are_no_latency():
    stats = RollingCameraRates()
    for number in range(100):
        now_ns = 10**15 + number * SECOND // 30
        cameras = {"a": msgspec.structs.replace(report(0), frames=number, capture_time_ns=number * SECOND // 30)}
        stats.add(make_set(now_ns, 40_000_000, cameras=cameras), now_ns)
    assert stats.figures("a", now_ns).latency_ms is None


def test_each_state_of_a_hand_has_its_colour_on_the_card_and_on_the_tiles():
    pose = msgspec.structs.replace(make_pose("left", hands_at(0.0)["left"]), views=["cam_0"])
    colours = {"seen": palette.GOOD, "held": palette.WARNING, "predicted": palette.BAD}
    for state, colour in colours.items():
        hand = msgspec.structs.replace(pose, state=state)
        card = hand_card([hand], SECOND, 4, False, 1.0).pixels
        assert amount(card, colour) > 300 and amount(hand_card([hand], SECOND, 4, True, 1.0).pixels, colour) == 0
        strip = Strip(make_rig().cameras, 1280)
        for tile in strip.tiles.values():
            tile.report = CameraReport(state="streaming")
            tile.show(np.zeros((720, 1280, 3), np.uint8), [], 0)
            tile.hands = [hand]
        picture = strip.draw(0)
        tiles = [picture[:30, 320 * number + 280 : 320 * number + 318] for number in range(4)]
        # A hand that is seen counts for those cameras that see it; of one that is not, all say so.
        assert amount(tiles[0], colour) > 100
        assert (amount(tiles[1], colour) > 100) == (state != "seen"), state


def test_the_latency_bar_is_divided_as_the_stages_are():
    stages_ms = {"grab": 5.0, "stage1": 10.0, "stpt": 5.0, "own": 99.0}
    bar = latency_bar(stages_ms, 1.0).pixels[32, 12:396]
    shares = [(np.abs(bar - np.array(palette.bgr(rgb))).max(axis=1) < 12).mean() for rgb in palette.FINGERS[:3]]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.02)


def test_stages_are_medians_and_end_with_the_drawing():
    shown = Shown()
    for number in range(51):
        message = make_set(number * SECOND, 0)
        message = msgspec.structs.replace(message, stage_ms={"grab": float(number), "mesh": 2.0})
        shown.take(message, number * SECOND)
        shown.drawn(message, number * SECOND + 7_000_000)
    assert list(shown.stages_ms().items()) == [("grab", 25.0), ("mesh", 2.0), ("draw", 7.0)]


def test_the_recorders_state_is_kept_and_shown():
    shown = Shown()
    status = RecordingStatus(recording=True, take="pinch", seconds=75.2, marks=1, disk_s=300.0)
    shown.take(status, 0)
    assert shown.recording is status and shown.pose_set is None
    on, off = (recording_card(msgspec.structs.replace(status, recording=r), 1.0).pixels for r in (True, False))
    assert amount(on, palette.BAD) > 80 and amount(off, palette.BAD) == 0
    assert amount(on, palette.WARNING) > 30, "five minutes of disk are short"
    roomy = recording_card(msgspec.structs.replace(status, disk_s=9e4), 1.0).pixels
    assert amount(roomy, palette.WARNING) == 0
    assert [duration(seconds) for seconds in (0, 42.9, 727, 11045)] == ["0:00", "0:42", "12:07", "3:04:05"]


def test_letters_grow_with_the_window_and_keep_their_shape():
    assert [scale_of(*size) for size in ((640, 360), (1280, 720), (1920, 1080), (3840, 2160))] == [1, 1, 1.5, 3]
    keys = keys_in({"live", "takes"})
    small, large = (help_card(keys, {"mesh": True}, [1, 3], scale).pixels for scale in (1.0, 3.0))
    assert large.shape[:2] == pytest.approx(np.array(small.shape[:2]) * 3, abs=3)
    shares = [amount(card, palette.TEXT) / card[..., 0].size for card in (small, large)]
    assert shares[1] > 0.9 * shares[0] > 0.005


@pytest.mark.parametrize("theme", palette.THEMES)
def test_text_is_readable_in_both_themes(theme: palette.Theme):
    palette.use(theme)

    def luminance(rgb: np.ndarray) -> float:
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    def contrast(rgb: np.ndarray, other: np.ndarray) -> float:
        """As WCAG 2 defines it; 4.5 is wanted of small text, 3 of graphics."""
        low, high = sorted((luminance(rgb), luminance(other)))
        return (high + 0.05) / (low + 0.05)

    for name in ("TEXT", "QUIET", "GOOD", "WARNING", "BAD"):
        assert contrast(getattr(palette, name), palette.BAR) > (4.5 if name in ("TEXT", "QUIET") else 3), name
    for colour in (palette.GOOD, palette.WARNING, palette.BAD, *palette.HANDS.values()):
        assert contrast(colour, palette.BACKGROUND) > 3


def test_a_theme_changes_what_is_drawn_and_back():
    before = Sheet(10, 10, 1.0).pixels
    palette.use("light")
    light = Sheet(10, 10, 1.0).pixels
    palette.use("dark")
    assert (Sheet(10, 10, 1.0).pixels == before).all() and light.mean() > before.mean() + 100


@pytest.mark.parametrize("size", [(314, 177), (320, 180), (1280, 720), (700, 394)])
def test_a_reduced_image_is_the_mean_of_what_it_covers(size: tuple[int, int]):
    rows, columns = np.mgrid[:720, :1280]
    image = np.stack([columns / 6, rows / 4, 100 + 50 * np.sin(columns / 90)], axis=-1).astype(np.uint8)
    small = reduced(image, *size)
    assert small.shape == (size[1], size[0], 3)
    x, y = (np.arange(size[0]) + 0.5) * 1280 / size[0] - 0.5, (np.arange(size[1]) + 0.5) * 720 / size[1] - 0.5
    wanted = np.stack(np.broadcast_arrays(x[None] / 6, y[:, None] / 4, 100 + 50 * np.sin(x[None] / 90)), axis=-1)
    assert np.abs(small - wanted).max() < 3


def test_no_word_of_the_table_is_cut_from_its_card():
    sheet = Sheet(1, 1, 1.0)
    for key in KEYS:
        room = 420 - 138 - (50 if key.action in Toggles().states() else 10)
        assert sheet.text_width(key.meaning, 14) < room, key
        assert sheet.text_width(key.chord, 14) < 112, key
        assert re.fullmatch(r"[ -~]+", key.chord + key.meaning), "the font has these letters"
