"""What `--stream` takes and what it refuses, before anything starts."""

import argparse
import socket
import sys

import pytest

from app.cli import build_parser
from app.commands.common import viewer_settings
from app.commands.stream_flags import stream_settings
from app.streams.kinds import STREAMS, check_streams, parse_stream
from calibration.errors import UserError
from tests.support.live_run import free_port, usthand


@pytest.mark.parametrize(
    ("given", "full"),
    [
        ("osc://127.0.0.1:9000", "osc://127.0.0.1:9000"),
        ("OSC://", "osc://127.0.0.1:9000"),
        ("vmc", "vmc://127.0.0.1:39539"),
        ("udp://localhost", "udp://localhost:9870"),
        ("websocket://:8000", "ws://127.0.0.1:8000"),
        ("mqtt://192.168.0.3/", "mqtt://192.168.0.3:1883"),
        ("ws://[::1]:8765", "ws://[::1]:8765"),
    ],
)
def test_addresses_are_completed(given: str, full: str) -> None:
    assert str(parse_stream(given)) == full


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("midi://127.0.0.1:9000", "unknown stream `midi`; known: osc, vmc, lsl, ws, udp, mqtt"),
        ("", "unknown stream"),
        ("udp:", "Write `udp://`"),
        ("udp:/127.0.0.1:9870", "Write `udp://`"),
        ("udp:9870", "or `udp://127.0.0.1:9870`"),
        ("ws://*:8765", "the host `*` is not known"),
        ("ws://192.0.2.1:8765", "`192.0.2.1` is not this host's"),
        ("osc://127.0.0.1:70000", "is no address"),
        ("osc://127.0.0.1:0", "is no address"),
        ("osc://127.0.0.1:port", "is no address"),
        ("osc://a/b", "is no address"),
        ("osc://[::1", "is no address"),
        ("osc://192.168.1..5:9000", "the host `192.168.1..5` is not known"),
        ("ws://a..b", "the host `a..b` is not known"),
        ("lsl://.local", "the host `.local` is not known"),
        (f"mqtt://{'a' * 70}", f"the host `{'a' * 70}` is not known"),
        ("udp://no-such-host.invalid:9000", "the host `no-such-host.invalid` is not known"),
    ],
)
def test_what_is_no_address_is_refused(given: str, says: str) -> None:
    with pytest.raises(UserError) as refused:
        check_streams([given])
    assert says in str(refused.value)


def test_a_missing_library_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, kind in STREAMS.items():
        if kind.package is None:
            continue
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, kind.package, None)
            with pytest.raises(UserError) as refused:
                check_streams([f"{name}://"])
        assert f"pip install 'usthand-live[{kind.extra}]'" in str(refused.value)


def test_a_taken_port_a_broker_that_is_not_there_and_the_same_stream_twice_are_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UserError, match="cannot listen there"):
        check_streams([f"ws://127.0.0.1:{taken.getsockname()[1]}"])
    with pytest.raises(UserError, match="no broker answers there"):
        check_streams([f"mqtt://127.0.0.1:{free_port()}"])
    with pytest.raises(UserError, match="given twice"):
        check_streams(["osc://", "osc://127.0.0.1:9000"])


def test_two_that_would_listen_at_one_port_are_refused_before_anything_starts() -> None:
    port = free_port()
    for one, other in (("localhost", "127.0.0.1"), ("127.0.0.1", "0.0.0.0")):
        with pytest.raises(UserError, match="are one port"):
            check_streams([f"ws://{one}:{port}", f"ws://{other}:{port}"])
    for flag in ("--publish", "--events"):
        with pytest.raises(UserError, match=f"and `{flag} tcp://127.0.0.1:{port}` are one port"):
            check_streams([f"ws://localhost:{port}"], {flag: f"tcp://127.0.0.1:{port}"})
    for others in (
        {"--publish": f"tcp://127.0.0.1:{port}", "--events": f"tcp://127.0.0.1:{port}"},
        {"--publish": f"tcp://127.0.0.1:{port}", "--view": f"web://0.0.0.0:{port}"},
        {"--view": f"web://localhost:{port}", "--listen": f"tcp://0.0.0.0:{port}"},
    ):
        with pytest.raises(UserError, match="are one port"):
            check_streams([], others)
    with pytest.raises(UserError, match=f"and `--view web://127.0.0.1:{port}` are one port"):
        check_streams([f"ws://localhost:{port}"], {"--view": f"web://127.0.0.1:{port}"})
    assert check_streams([], {"--view": f"web://127.0.0.1:{port}", "--publish": "tcp://127.0.0.1:1"}) == []
    assert check_streams([], {"--view": "web", "--publish": "ipc:///tmp/poses"}) == []
    others = {"--publish": None, "--events": "ipc:///tmp/events"}
    assert check_streams([f"ws://:{port}", f"udp://:{port}"], others) == [
        f"ws://127.0.0.1:{port}",
        f"udp://127.0.0.1:{port}",
    ]


def test_loopback_is_told_from_the_network() -> None:
    assert all(parse_stream(f"ws://{host}").loopback for host in ("", "localhost", "127.0.0.5", "[::1]"))
    assert not any(parse_stream(f"ws://{host}").loopback for host in ("0.0.0.0", "192.168.0.3", "example.org"))


def test_a_port_of_the_view_that_is_taken_is_said_before_anything_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        view = f"web://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UserError, match=f"cannot listen on `{view}`"):
            viewer_settings(parsed("demo", "--view", view), "title")


def test_a_port_beside_that_of_grabbers_is_theirs_too() -> None:
    port = free_port()
    args = parsed("live", "rig.yaml", "--listen", f"tcp://0.0.0.0:{port}", "--publish", f"tcp://127.0.0.1:{port + 1}")
    with pytest.raises(UserError, match=r"`--listen's next port .* and `--publish .* are one port"):
        stream_settings(args)


def parsed(*words: str) -> argparse.Namespace:
    return build_parser().parse_args(words)


@pytest.mark.parametrize("arguments", [["--stream", "midi://"], ["--predict", "-1"], ["--predict", "500"]])
def test_the_command_ends_with_2_and_says_why(arguments: list[str]) -> None:
    done = usthand("demo", "--drawn", "--no-viewer", *arguments)
    assert done.returncode == 2
    assert arguments[0] in done.stderr and "Traceback" not in done.stderr
