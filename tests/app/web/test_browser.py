"""The view in a real browser: what is there, that it moves, who is refused, and that nothing leaves the machine."""

import re
import time

import cv2
import numpy as np
import psutil
import pytest
import viser.transforms

from app.transport.messages import PoseSet
from app.viewer import palette
from app.viewer.state import GONE_NS, STALE_NS, Shown
from app.web.scene import WebScene
from app.web.server import open_server
from models.hand.mesh import load_mesh
from tests.support.browser import SIZE, Page, chromium
from tests.support.live_run import LiveRun, free_port, simulated_rig
from tests.support.viewer_scene import TARGET_M, ListFeed, make_meshed_pose, make_rig, make_set, report

pytestmark = pytest.mark.slow

NEAR_PX = 8


class Watched:
    """A page of scripted poses in a browser, and where on it the hand is."""

    def __init__(self, page: Page) -> None:
        self.rig = make_rig()
        self.server = open_server("127.0.0.1", free_port(), None, "test")
        self.scene = WebScene(self.server, self.rig, "a test", ListFeed([]))
        self.shown, self.page = Shown(), page
        self.scene.on.skeleton.value = self.scene.on.trail.value = self.scene.on.cameras.value = False
        page.open(f"http://127.0.0.1:{self.server.get_port()}/")
        page.until(lambda _: bool(self.server.get_clients()), "the browser to connect")

    def show(self, wrist_m: np.ndarray) -> np.ndarray:
        """A left hand with its wrist there; gives where the middle of its outline should be, pixels (2,)."""
        hand = make_meshed_pose("left", wrist_m)
        cameras = {camera.camera_id: report(number) for number, camera in enumerate(self.rig.cameras)}
        self.shown.take(make_set(time.monotonic_ns(), 20_000_000, [hand], cameras), time.monotonic_ns())
        self.scene.update(self.shown, time.monotonic_ns())
        assert hand.vertices_world_m is not None
        pixels = self.project(np.frombuffer(hand.vertices_world_m, "<f4").reshape(-1, 3))
        outline = np.zeros((SIZE[1], SIZE[0]), np.uint8)
        for triangle in np.round(pixels[load_mesh().faces]).astype(np.int32):
            cv2.fillConvexPoly(outline, triangle, (1,))
        rows, columns = np.nonzero(outline)
        return np.array([columns.mean(), rows.mean()])

    def project(self, points_m: np.ndarray) -> np.ndarray:
        (client,) = self.server.get_clients().values()
        camera = client.camera
        R_world_cam = viser.transforms.SO3(camera.wxyz).as_matrix()
        points_cam_m = (points_m - camera.position) @ R_world_cam
        focal_px = camera.image_height / 2 / np.tan(camera.fov / 2)
        middle = np.array([camera.image_width, camera.image_height]) / 2
        return points_cam_m[:, :2] / points_cam_m[:, 2:] * focal_px + middle

    def seen(self) -> np.ndarray | None:
        """The middle of what is drawn in the left hand's colour, pixels (2,); None where that is hardly anything."""
        picture = self.page.picture()[:, :, ::-1].astype(float)
        (client,) = self.server.get_clients().values()
        picture = picture[: client.camera.image_height, : client.camera.image_width]
        bright = np.maximum(picture.max(axis=2), 1)
        like = picture / bright[..., None] - palette.HANDS["left"] / palette.HANDS["left"].max()
        rows, columns = np.nonzero((bright > 60) & (np.abs(like).max(axis=2) < 0.2))
        return np.array([columns.mean(), rows.mean()]) if len(rows) > 300 else None

    def is_at(self, pixel: np.ndarray) -> bool:
        seen = self.seen()
        return seen is not None and bool(np.linalg.norm(seen - pixel) < NEAR_PX)


def test_the_hand_is_where_it_is_and_moves_and_grows_old() -> None:
    with chromium() as page:
        watched = Watched(page)
        try:
            here_m, there_m = TARGET_M, TARGET_M + [0.12, 0.0, 0.05]
            for wrist_m in (here_m, there_m, here_m):
                page.until(lambda _, at=wrist_m: watched.is_at(watched.show(at)), f"a hand at {wrist_m}")
            gone = watched.project(here_m[None])[0] - watched.project(there_m[None])[0]
            assert np.linalg.norm(gone) > 4 * NEAR_PX
            assert "a test" in page.text() and "cam_2" in page.text()
            watched.scene.update(watched.shown, time.monotonic_ns() + STALE_NS)
            page.until(lambda _: watched.seen() is None, "the old hand to be grey")
            watched.scene.update(watched.shown, time.monotonic_ns() + GONE_NS)
        finally:
            watched.server.stop()


def found(log: str) -> str | None:
    match = re.search(r"the view is at (\S+)", log)
    return match and match[1]


def test_beyond_this_host_the_token_is_asked_for_and_nothing_leaves(tmp_path) -> None:
    port = free_port()
    rig = simulated_rig(tmp_path / "rig.yaml", cameras=2)
    view = ("--view", f"web://0.0.0.0:{port}")
    with LiveRun(tmp_path, "live", rig, "--estimator", "simulated", *view) as run, chromium() as page:
        run.sets(5)
        page.until(lambda _: found(run.log.read_text()) is not None, "the address of the view")
        url = found(run.log.read_text())
        assert url is not None and "?token=" in url
        token = url.split("token=")[1]
        here = f"http://127.0.0.1:{port}/"
        for wrong in (here, f"{here}?token={'x' * len(token)}"):
            page.open(wrong)
            page.until(
                lambda page, wrong=wrong: (
                    page.evaluate("location.href") == wrong and "needs the address with its token" in page.text()
                ),
                "a refusal",
            )
        page.open(f"{here}?token={token}")
        page.until(lambda page: "streaming" in page.text() and "poses/s" in page.text(), "the figures")
        before = page.picture()
        page.until(lambda page: changed(before, page.picture()), "something to move")
        assert page.hosts() == {f"127.0.0.1:{port}"}
        assert page.ask("Runtime.evaluate", expression="document.cookie")["result"]["value"] == ""
        # A view that stands still slows nobody, and one that dies is there again, for the same browser.
        process = run.child("app.web.process")
        process.suspend()
        assert len(run.sets(40)) >= 40
        process.resume()
        process.kill()
        psutil.wait_procs([process], timeout=30)
        page.until(lambda _: run.log.read_text().count(url) == 2, "the view to be served again")
        page.open(here)
        page.until(lambda page: "streaming" in page.text(), "the page again")
        code, summary = run.interrupt()
        assert code == 0 and summary["sets_with_hand"] > 0
        assert run.left_behind() == []


def changed(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether something moves in the scene, which is beside the panel of figures."""
    width = before.shape[1] * 2 // 3
    return bool((np.abs(before[:, :width].astype(int) - after[:, :width]).max(axis=2) > 60).sum() > 200)


def test_a_browser_that_never_reads_holds_nothing_up() -> None:
    from websockets.sync.client import connect

    rig = make_rig()
    port = free_port()
    server = open_server("127.0.0.1", port, None, "test")
    try:
        scene, shown = WebScene(server, rig, "a test", ListFeed([])), Shown()
        address = f"ws://127.0.0.1:{port}/"
        version = viser.__version__
        with connect(address, subprotocols=[f"viser-v{version}"], max_queue=1, proxy=None) as deaf:  # pyright: ignore[reportArgumentType]
            before = psutil.Process().memory_info().rss
            buffer = server._websock_server._broadcast_buffer
            for number in range(600):
                hand = make_meshed_pose("left", TARGET_M + [0.0001 * number, 0, 0])
                shown.take(pose_set(hand), time.monotonic_ns())
                scene._update_hands(shown, time.monotonic_ns(), new=True)
            assert len(buffer.message_from_id) < 400
            assert psutil.Process().memory_info().rss - before < 100 << 20
            deaf.socket.close()
    finally:
        server.stop()


def pose_set(hand) -> PoseSet:
    return make_set(time.monotonic_ns(), 20_000_000, [hand])
