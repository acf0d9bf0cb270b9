"""Who the view in the browser lets in: everything here is asked of the gate itself, without a browser."""

import pytest

from app.run.view_choice import ViewChoice, view_choice
from calibration.errors import UserError
from tests.support.live_run import usthand

pytest.importorskip("viser")

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from app.web.gate import Gate

TOKEN = "a-token-of-the-tests"


def request(path: str = "/", host: str = "127.0.0.1:8080", **headers: str) -> Request:
    return Request(path, Headers({"Host": host, **headers}))


def status(gate: Gate, asked: Request) -> int:
    answer = gate.check(asked)
    return 200 if answer is None else answer.status_code


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080", "localhost"])
def test_on_this_host_its_own_names_are_answered(host: str) -> None:
    assert status(Gate("127.0.0.1", None), request(host=host)) == 200


@pytest.mark.parametrize("host", ["evil.example:8080", "127.0.0.1.evil.example", "", "[", "localhost@evil.example"])
def test_on_this_host_a_name_that_was_turned_to_it_is_refused(host: str) -> None:
    assert status(Gate("127.0.0.1", None), request(host=host)) == 403


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9090", "file://"])
@pytest.mark.parametrize("token", [None, TOKEN])
def test_a_page_of_another_site_is_refused(origin: str, token: str | None) -> None:
    asked = request(Upgrade="websocket", Origin=origin, Cookie=f"usthand_view_8080={TOKEN}")
    assert status(Gate("127.0.0.1", token), asked) == 403


def test_its_own_page_is_let_in() -> None:
    asked = request(Upgrade="websocket", Origin="http://127.0.0.1:8080", Cookie=f"usthand_view_8080={TOKEN}")
    assert status(Gate("127.0.0.1", None), asked) == 200
    assert status(Gate("127.0.0.1", TOKEN), asked) == 200


@pytest.mark.parametrize(
    "asked",
    [
        request(host="rig:8080"),
        request("/?token=", host="rig:8080"),
        request("/?token=wrong", host="rig:8080"),
        request(f"/?token={TOKEN[:-1]}", host="rig:8080"),
        request(host="rig:8080", Cookie="usthand_view_8080=wrong"),
        request(host="rig:8080", Cookie=f"usthand_view_8081={TOKEN}"),
        request(host="rig:8080", Cookie=";;;={}"),
        request(f"/?token={TOKEN}", host="rig:8080", Upgrade="websocket"),
        request(f"/index.html#{TOKEN}", host="rig:8080"),
        request(f"/?token={TOKEN}", host="rig:port"),
        request(f"/?token={TOKEN}", host="rig:99999"),
        request("/?token=\udcff", host="rig:8080"),
        request(host="rig:8080", Origin="http://[rig:8080"),
        Request("/", Headers()),
        Request(f"/?token={TOKEN}", Headers([("Host", "rig:8080"), ("Host", "other:8080")])),
    ],
)
def test_without_the_token_nothing_is_served(asked: Request) -> None:
    assert status(Gate("0.0.0.0", TOKEN), asked) == 403


def test_the_token_goes_from_the_url_into_a_cookie() -> None:
    gate = Gate("0.0.0.0", TOKEN)
    answer = gate.check(request(f"/?token={TOKEN}", host="rig:8080"))
    assert answer is not None and answer.status_code == 303 and answer.headers["Location"] == "/"
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie
    assert status(gate, request(host="rig:8080", Cookie=cookie.split(";")[0])) == 200


def test_cookies_of_other_programs_do_not_hide_the_token() -> None:
    others = f'theirs={{"a": [1]}}; bad name; x="; usthand_view_8080={TOKEN}; last=1'
    assert status(Gate("0.0.0.0", TOKEN), request(host="rig:8080", Cookie=others)) == 200


def test_every_answer_forbids_to_fetch_from_elsewhere() -> None:
    page = Gate("127.0.0.1", None).guard(lambda *_: Response(200, "OK", Headers(), b""))(None, request())
    refused = Gate("127.0.0.1", None).check(request(host="evil.example"))
    for answer in (page, refused):
        assert answer is not None
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "http" not in policy and "*" not in policy


def test_which_views_there_are() -> None:
    assert view_choice("window") == ViewChoice()
    assert view_choice("web") == ViewChoice(kind="web") and not view_choice("web").needs_token
    assert view_choice("web://0.0.0.0:9000") == ViewChoice(kind="web", host="0.0.0.0", port=9000)
    for loopback in ("web://localhost:1", "web://127.0.0.2:1", "web://[::1]:1"):
        assert not view_choice(loopback).needs_token
    for public in ("web://0.0.0.0:1", "web://[::]:1", "web://rig.local:1", "web://192.168.0.3:1"):
        assert view_choice(public).needs_token


@pytest.mark.parametrize(
    "text", ["", "webb", "web:", "web://", "web://host", "web://h:x", "web://h:99999", "web://h:1/p", "web://a..b:1"]
)
def test_what_is_no_view_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--view"):
        view_choice(text)


def test_contradicting_flags_are_bad_usage(tmp_path) -> None:
    for flags in (["--no-viewer"], ["--headless", tmp_path / "a.mp4"], ["--snapshot", tmp_path / "a.png"]):
        ended = usthand("demo", "--drawn", "--view", "web", *flags)
        assert ended.returncode == 2 and "--view" in ended.stderr and "Traceback" not in ended.stderr


def test_a_missing_library_is_named_with_what_installs_it(monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r'pip install "usthand-live\[web\]"'):
        view_choice("web")
    with pytest.raises(UserError, match=r'pip install "usthand-live\[rerun\]"'):
        view_choice("rerun")
