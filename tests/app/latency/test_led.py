"""An LED that blinks at random: its place in the pictures, and the delay of a camera that films it, are recovered."""

import os
import pty
import termios
from pathlib import Path

import numpy as np
import pytest
import yaml

from app.latency.blinking import Blinking
from app.latency.led import FileLed, SerialLed, open_led
from app.latency.led_spot import LedSpot
from calibration.errors import UserError
from calibration.rig import read_rig
from tests.conftest import ROOT
from tests.support.led_picture import write_led_picture
from tests.support.live_run import last_json, simulated_rig, usthand

WITHIN_MS = 2.0
SECOND_NS = 1_000_000_000


def blink(random: np.random.Generator, seconds: float, unknown_ms: float) -> tuple[Blinking, np.ndarray]:
    """An LED, and when it really turned (S,), on first."""
    blinking, turned_ns, now_ns = Blinking(), [], 5 * SECOND_NS
    while now_ns < (5 + seconds) * SECOND_NS:
        took_ns = round(random.uniform(0.1, 2 * unknown_ms) * 1e6)
        blinking.add(len(turned_ns) % 2 == 0, now_ns, now_ns + took_ns)
        turned_ns.append(now_ns + random.integers(0, took_ns))
        now_ns += took_ns + round(random.uniform(*blinking.settings.stays_ms) * 1e6)
    return blinking, np.array(turned_ns)


def lit_share(turned_ns: np.ndarray, begin_ns: np.ndarray, end_ns: np.ndarray) -> np.ndarray:
    """How much of each exposure the LED was on."""
    grid = np.linspace(begin_ns, end_ns, 101)
    return ((np.searchsorted(turned_ns, grid) % 2) == 1).mean(axis=0)


def filmed(
    random: np.random.Generator,
    turned_ns: np.ndarray,
    *,
    delay_ms: float,
    jitter_ms: float,
    exposure_ms: float,
    fps: float,
    inverted: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """When pictures were grabbed, and the LED's grey level in them: a half-lit one is brighter than half, as a bright
    LED overexposes."""
    period_ns = SECOND_NS / fps
    first_ns = turned_ns[0] + random.uniform(-1, 1) * SECOND_NS
    middle_ns = np.arange(first_ns, turned_ns[-1] + SECOND_NS / 2, period_ns)
    share = lit_share(turned_ns, middle_ns - exposure_ms * 5e5, middle_ns + exposure_ms * 5e5)
    share = 1 - share if inverted else share
    levels = 30 + 200 * np.minimum(1.0, 1.6 * share) + random.normal(0, 3, len(share))
    delays_ns = random.normal(delay_ms, jitter_ms, len(share)) * 1e6
    return (middle_ns + delays_ns).astype(np.int64), np.round(levels)


@pytest.mark.parametrize(
    ("delay_ms", "jitter_ms", "exposure_ms", "fps", "inverted"),
    [
        (41.3, 1.0, 2.0, 30.0, False),
        (3.4, 0.3, 1.0, 90.0, True),
        (93.7, 3.0, 16.0, 30.0, True),
        (140.2, 2.0, 33.0, 30.0, False),
        (612.0, 5.0, 8.0, 25.0, False),
    ],
)
def test_a_known_delay_is_recovered(
    delay_ms: float, jitter_ms: float, exposure_ms: float, fps: float, inverted: bool
) -> None:
    random = np.random.default_rng(round(delay_ms))
    blinking, turned_ns = blink(random, 15.0, 0.5)
    pictures = filmed(
        random,
        turned_ns,
        delay_ms=delay_ms,
        jitter_ms=jitter_ms,
        exposure_ms=exposure_ms,
        fps=fps,
        inverted=inverted,
    )
    found, said = blinking.estimate(*pictures)
    assert found is not None and said > 200
    assert found.mean_ms == pytest.approx(delay_ms, abs=WITHIN_MS)
    if exposure_ms < 20:
        assert found.spread_ms == pytest.approx(jitter_ms, abs=1.5)


def test_the_error_that_is_stated_is_the_true_one() -> None:
    off = []
    for seed in range(10):
        random = np.random.default_rng(seed)
        blinking, turned_ns = blink(random, 8.0, 1.0)
        delay_ms = random.uniform(10, 120)
        pictures = filmed(
            random, turned_ns, delay_ms=delay_ms, jitter_ms=2.0, exposure_ms=10.0, fps=30.0, inverted=False
        )
        found, _ = blinking.estimate(*pictures)
        assert found is not None
        off.append((found.mean_ms - delay_ms) / found.error_ms)
    assert 0.3 < np.sqrt(np.mean(np.square(off))) < 2.0


def test_pictures_of_another_lamp_or_of_none_say_nothing() -> None:
    random = np.random.default_rng(1)
    blinking, _ = blink(random, 10.0, 0.5)
    _, other_ns = blink(np.random.default_rng(2), 10.0, 0.5)
    still = random.normal(100, 2, 300)
    assert blinking.estimate(np.arange(300) * SECOND_NS // 30 + 5 * SECOND_NS, still) == (None, 0)
    grabs_ns, levels = filmed(random, other_ns, delay_ms=40, jitter_ms=1, exposure_ms=5, fps=30.0, inverted=False)
    assert blinking.estimate(grabs_ns, levels) == (None, 0)


@pytest.mark.parametrize("size", [(1280, 720), (160, 120)])
def test_the_led_is_found_beside_things_that_change_more(size: tuple[int, int]) -> None:
    random = np.random.default_rng(4)
    blinking, turned_ns = blink(random, 6.0, 0.5)
    grabs_ns, levels = filmed(random, turned_ns, delay_ms=60, jitter_ms=1, exposure_ms=8, fps=30.0, inverted=False)
    width, height = size
    background = random.integers(40, 90, (height, width, 3), np.uint8)
    spot = LedSpot(blinking)
    for grab_ns, level in zip(grabs_ns[30:], levels[30:], strict=False):
        picture = background.copy()
        picture[height // 2 :, : width // 3] = random.integers(0, 255)
        picture[height // 4 : height // 4 + 4, width // 2 : width // 2 + 4] = np.clip(level, 0, 255)
        spot.take(picture, int(grab_ns))
    assert spot.found and spot._place is not None
    row, column = spot._place
    scale = min(1.0, 320 / width)
    assert row == pytest.approx((height / 4 + 1.5) * scale, abs=1.5)
    assert column == pytest.approx((width / 2 + 1.5) * scale, abs=1.5)
    found, _ = blinking.estimate(*spot.pictures)
    assert found is not None and found.mean_ms == pytest.approx(60, abs=WITHIN_MS)


def test_a_serial_port_and_an_led_of_linux_are_told_and_others_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "capslock"
    folder.mkdir()
    (folder / "max_brightness").write_text("255\n")
    (folder / "brightness").write_text("0\n")
    led = open_led(str(folder / "brightness"))
    assert isinstance(led, FileLed)
    led.switch(True)
    assert (folder / "brightness").read_text().startswith("255")
    led.close()
    assert (folder / "brightness").read_text().startswith("0\n")

    near, far = pty.openpty()
    port = os.ttyname(far)
    with pytest.raises(UserError, match="cannot be switched"):
        open_led(port)  # a pseudo-terminal has no lines
    asked = []
    monkeypatch.setattr("app.latency.led.fcntl.ioctl", lambda file, what, mask: asked.append((what, mask)))
    led = open_led(f"{port}:dtr")
    assert isinstance(led, SerialLed)
    led.switch(True)
    led.close()
    assert [what for what, _ in asked] == [termios.TIOCMBIC, termios.TIOCMBIS, termios.TIOCMBIC]
    assert {int.from_bytes(mask, "little") for _, mask in asked} == {termios.TIOCM_DTR}
    for file in (near, far):
        os.close(file)

    for text, says in (
        (f"{tmp_path}/none", "there is no"),
        (f"{port}:cts", "not `cts`"),
        (str(folder / "max_brightness"), "neither a serial port nor an LED"),
    ):
        with pytest.raises(UserError, match=says):
            open_led(text)


def test_colons_in_the_name_of_an_led_or_a_port_are_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "input3::capslock"
    folder.mkdir()
    (folder / "max_brightness").write_text("1\n")
    (folder / "brightness").write_text("0\n")
    led = open_led(str(folder / "brightness"))
    led.switch(True)
    assert (folder / "brightness").read_text() == "1\n"
    led.close()

    near, far = pty.openpty()
    by_path = tmp_path / "pci-0000:00:14.0-usb-0:2:1.0-port0"
    by_path.symlink_to(os.ttyname(far))
    masks = []
    monkeypatch.setattr("app.latency.led.fcntl.ioctl", lambda file, what, mask: masks.append(mask))
    for text in (f"{by_path}", f"{by_path}:dtr"):
        open_led(text).close()
    assert [int.from_bytes(mask, "little") for mask in masks[::2]] == [termios.TIOCM_RTS, termios.TIOCM_DTR]
    for file in (near, far):
        os.close(file)
    gone = tmp_path / "input9::capslock" / "brightness"
    with pytest.raises(UserError, match=f"there is no {gone}"):
        open_led(str(gone))


@pytest.mark.slow
def test_the_command_recovers_the_delays_of_cameras_that_film_an_led_on_a_serial_port(tmp_path: Path) -> None:
    write_led_picture(tmp_path / "picture")
    delays_ms = {"cam_0": 35.0, "cam_1": 80.0}
    rig = simulated_rig(tmp_path / "rig.yaml", cameras=2, width=640, height=360)
    data = yaml.safe_load(rig.read_text())
    for entry, fps in zip(data["cameras"], (30.0, 25.0), strict=True):
        entry["source"] = {
            "kind": "simulated",
            "fps": fps,
            "screen": str(tmp_path / "picture"),
            "screen_delay_ms": delays_ms[entry["id"]],
        }
    rig.write_text(yaml.safe_dump(data))
    near, far = pty.openpty()
    environment = {
        "LED_PICTURE": str(tmp_path / "picture"),
        "PYTHONPATH": f"{ROOT / 'tests' / 'support' / 'led_site'}{os.pathsep}{ROOT}",
        "DISPLAY": "",
    }
    done = usthand("latency", rig, "--led", os.ttyname(far), "--seconds", "8", "--json", env=environment)
    for file in (near, far):
        os.close(file)
    assert done.returncode == 0, done.stderr
    result = last_json(done.stdout)
    assert result["led"] and result["display_period_ms"] is None
    kept = read_rig(rig)
    for camera_id, delay_ms in delays_ms.items():
        told = result["cameras"][camera_id]
        assert told["light_to_grab_ms"] == pytest.approx(delay_ms, abs=max(WITHIN_MS, told["code_known_ms"] / 2))
        assert told["uncertainty_ms"] < 5
        latency = kept[camera_id].latency
        assert latency is not None and latency.light_to_grab_ms == told["light_to_grab_ms"]
