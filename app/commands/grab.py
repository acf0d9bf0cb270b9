"""`usthand grab`: grab one camera of a rig for a worker on another machine."""

import argparse
import json
import logging
from pathlib import Path

from app.capture.remote import grab_remotely
from app.commands.common import add_command, positive
from app.run.process import start_process
from app.transport.keys import Keys
from app.transport.sockets import check_address

log = logging.getLogger(__name__)


def add_parser(subparsers) -> None:
    parser = add_command(
        subparsers,
        "grab",
        run,
        "grab a camera that is marked `remote: true` in the rig, and send it to the worker on another machine",
        "  usthand grab cam_2 --connect tcp://192.168.0.10:5600 --keys keys/",
    )
    parser.add_argument("camera", help="the camera's id in the worker's rig.yaml")
    parser.add_argument("--connect", required=True, metavar="ADDRESS", help="the `--listen` address of `usthand live`")
    parser.add_argument("--keys", type=Path, metavar="DIR", help="folder with worker.key and grabber.key_secret")
    parser.add_argument("--encoding", choices=("jpeg", "raw"), default="jpeg", help="of the pixels (%(default)s)")
    parser.add_argument(
        "--quality", type=int, choices=range(1, 101), default=90, metavar="N", help="of JPEG, to 100 (%(default)s)"
    )
    parser.add_argument("--seconds", type=positive, metavar="N", help="end after N seconds")


def run(args: argparse.Namespace) -> int:
    start_process(f"grabber[{args.camera}]")
    keys = Keys(args.keys) if args.keys else None
    check_address(args.connect, keys, of_grabbers=True)
    result = grab_remotely(args.camera, args.connect, keys, args.encoding, args.quality, args.seconds)
    if args.json:
        print(json.dumps(result))
    if not result["frames"]:
        log.error("no frame of camera `%s` was sent; what is said of it above tells why.", args.camera)
        return 1
    return 0
