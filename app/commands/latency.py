"""`usthand latency RIG`: how late each camera's frames are, from light to the grabbed frame."""

import argparse
import datetime
import json
import math
from pathlib import Path

from app.commands.calibrate_live import check_cameras
from app.commands.common import add_command, positive, run_rig
from app.run.policy import LivePolicy
from app.run.settings import RunSettings
from calibration.errors import UserError
from calibration.measured_latency import MeasuredLatency
from calibration.rig import read_uncalibrated_rig, rig_file, write_latencies
from calibration.written_files import check_can_write

_MAX_AGE_MS = 5000.0
# From the computer's command to the pin of a USB serial port: a frame of USB.
_LED_MS = 1.0


def add_parser(subparsers) -> None:
    parser = add_command(
        subparsers,
        "latency",
        run,
        "how late each camera's frames are: the cameras film a code on the screen, or an LED; kept in rig.yaml",
        "  usthand latency rig.yaml\n  usthand latency rig.yaml --seconds 30 --json\n"
        "  usthand latency rig.yaml --led /dev/ttyUSB0       an LED on the line RTS of a serial port blinks instead\n"
        "  usthand latency rig.yaml --no-write   (print only)",
    )
    parser.add_argument("rig", type=Path, help="rig.yaml, calibrated or not, or a folder with one")
    parser.add_argument(
        "--seconds",
        type=positive,
        default=15.0,
        metavar="N",
        help="measure for N seconds once a camera sees it (%(default)g)",
    )
    parser.add_argument(
        "--led",
        metavar="PORT",
        help="film an LED on a serial port, /dev/ttyUSB0 or /dev/ttyUSB0:dtr, or /sys/class/leds/NAME/brightness",
    )
    parser.add_argument("--no-write", action="store_false", dest="write", help="leave rig.yaml as it is")
    parser.add_argument("--listen", metavar="ADDRESS", help="where remote grabbers connect, tcp://HOST:PORT")
    parser.add_argument("--keys", type=Path, metavar="DIR", help="folder of CURVE keys, see `usthand keys`")


def run(args: argparse.Namespace) -> int:
    rig = read_uncalibrated_rig(args.rig)
    check_cameras(rig, args)
    _check_means(args.led)
    rig_path = rig_file(args.rig)
    if args.write:
        check_can_write(rig_path, f"{rig_path}, where the latency is kept unless you give `--no-write`")
    settings = RunSettings(
        estimator="none",
        policy=LivePolicy(max_age_ms=_MAX_AGE_MS),
        listen=args.listen,
        keys=str(args.keys.resolve()) if args.keys else None,
        latency=args.seconds,
        latency_led=args.led,
    )
    outcome = run_rig(rig, settings, None)
    if outcome.exit_code or "delays" not in outcome.summary:
        return outcome.exit_code or 1
    measured = _measured(outcome.summary)
    if not measured:
        raise UserError(_why_none(outcome.summary["delays"], args.led))
    if args.write:
        write_latencies(rig_path, measured)
    result = _result(outcome.summary, measured, str(rig_path) if args.write else None)
    _print(result)
    if args.json:
        print(json.dumps(result))
    return 0


def _check_means(led: str | None) -> None:
    """Raises UserError where there is neither a screen nor the LED that was asked for."""
    if led is not None:
        from app.latency.led import open_led

        open_led(led).close()
        return
    from app.wizard.window import check_screen

    check_screen("`usthand latency`", "run it on a machine with a screen, or give an LED with `--led`")


def _measured(summary: dict) -> dict[str, MeasuredLatency]:
    """Where the code was read often enough. The light leaves the screen up to a period of the display after the window
    was drawn, or two where another program puts windows together: counted to the camera, and to the uncertainty."""
    today = datetime.date.today().isoformat()
    period_ms = summary.get("display_period_ms", _LED_MS)
    return {
        camera_id: MeasuredLatency(
            light_to_grab_ms=round(delay["mean_ms"], 2),
            spread_ms=round(delay["spread_ms"], 2),
            uncertainty_ms=round(math.hypot(period_ms, 2 * delay["error_ms"], delay["known_ms"] / 2), 2),
            date=today,
        )
        for camera_id, delay in summary["delays"].items()
        if delay["mean_ms"] is not None
    }


def _why_none(delays: dict[str, dict], led: str | None) -> str:
    told = ", ".join(
        f"{camera_id} delivered {delay['frames']} frames and the code was read in {delay['pictures']}"
        for camera_id, delay in delays.items()
    )
    if led is not None:
        told = ", ".join(f"{camera_id} delivered {delay['frames']} frames" for camera_id, delay in delays.items())
        return (
            f"no camera saw the LED blink: {told}. See that it blinks, point each camera at it so that it is 4 pixels "
            "wide or more and the brightest thing that changes, give a camera that looks over 50 ms into the light a "
            "shorter exposure, and hold all still."
        )
    return (
        f"no camera saw the code well enough: {told}. Point each camera at the panel so that it is 100 pixels wide or "
        "more, turn reflections away and the screen's brightness down, give a camera that looks over 30 ms into the "
        "light a shorter exposure, and hold all still."
    )


def _result(summary: dict, measured: dict[str, MeasuredLatency], written: str | None) -> dict:
    cameras = {}
    for camera_id, delay in summary["delays"].items():
        known = measured.get(camera_id)
        cameras[camera_id] = {
            "light_to_grab_ms": known.light_to_grab_ms if known else None,
            "spread_ms": known.spread_ms if known else None,
            "uncertainty_ms": known.uncertainty_ms if known else None,
            "code_known_ms": round(delay["known_ms"], 2) if known else None,
            "pictures": delay["pictures"],
            "frames": delay["frames"],
        }
    return {
        "cameras": cameras,
        "display_period_ms": round(summary["display_period_ms"], 3) if "display_period_ms" in summary else None,
        "display_period_known": summary.get("display_period_known"),
        "led": summary.get("led"),
        "rig": written,
    }


def _print(result: dict) -> None:
    for camera_id, camera in result["cameras"].items():
        if camera["light_to_grab_ms"] is None:
            print(f"  {camera_id}: not measured: read in {camera['pictures']} of {camera['frames']} frames")
            continue
        print(
            f"  {camera_id}: {camera['light_to_grab_ms']:.1f} ms from light to grabbed frame, "
            f"spread {camera['spread_ms']:.1f} ms, uncertain by {camera['uncertainty_ms']:.1f} ms "
            f"({camera['pictures']} pictures)"
        )
    if result["led"]:
        print(f"by the LED at {result['led']}")
        _print_place(result)
        return
    told = "as xrandr tells" if result["display_period_known"] else "assumed: xrandr does not tell"
    print(f"the display's own period is {result['display_period_ms']:.1f} ms ({told}); its delay is counted in")
    _print_place(result)


def _print_place(result: dict) -> None:
    if result["rig"]:
        print(f"kept in {result['rig']}")
