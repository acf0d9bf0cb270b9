"""`--stream NAME://HOST:PORT` and `--predict MS`, which `live`, `demo` and `replay` share."""

import argparse

from app.streams.kinds import LOOPBACK, STREAMS, check_streams
from app.transport.sockets import next_port
from calibration.errors import UserError

_MOST_PREDICT_MS = 200.0
"""Farther ahead a hand may be anywhere within its own size."""


def add_stream_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--stream",
        action="append",
        default=[],
        metavar="NAME://HOST:PORT",
        help=f"send the hands there, any number of times: {', '.join(STREAMS)} (docs/streams.md); osc:// is "
        f"osc://{LOOPBACK}:{STREAMS['osc'].port}",
    )
    parser.add_argument(
        "--predict",
        type=float,
        default=0.0,
        metavar="MS",
        help="forecast the hands so many milliseconds ahead of their images, for streams and subscribers",
    )


def stream_settings(args: argparse.Namespace) -> dict:
    """Fields of RunSettings. Raises UserError where a stream cannot be, or the forecast is too far."""
    if not 0 <= args.predict <= _MOST_PREDICT_MS:
        raise UserError(
            f"`--predict {args.predict:g}`: expected milliseconds from 0 (off) to {_MOST_PREDICT_MS:g}. "
            "Give for example `--predict 50`."
        )
    own = {"--publish": args.publish, "--events": args.events, "--view": args.view}
    listen = getattr(args, "listen", None)
    if listen and listen.startswith("tcp://"):
        own |= {"--listen": listen, "--listen's next port": next_port(listen)}
    streams = check_streams(args.stream, own)
    return {"streams": streams, "predict_ms": args.predict}
