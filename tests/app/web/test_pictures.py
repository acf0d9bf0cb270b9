"""The cameras' pictures in the browser's scene."""

import msgspec
import numpy as np
import pytest

pytest.importorskip("viser")

from app.viewer.state import Shown
from app.web.scene import WebScene
from app.web.server import open_server
from tests.support.live_run import free_port
from tests.support.viewer_scene import ListFeed, make_rig, make_set, report


def test_the_last_picture_of_a_camera_that_is_lost_turns_grey() -> None:
    """A camera that is lost has no frame in a set; one that missed a set has none either and is as it was."""
    rig = make_rig()
    server = open_server("127.0.0.1", free_port(), None, "test")
    try:
        scene, shown = WebScene(server, rig, "a test", ListFeed([])), Shown()
        _, lost, late = rig.camera_ids[:3]
        streaming = {name: report(number) for number, name in enumerate(rig.camera_ids)}
        absent = {lost: report(1, "lost"), late: report(2)}
        without = streaming | {name: msgspec.structs.replace(each, slot=None) for name, each in absent.items()}
        coloured = []
        for cameras in (streaming, without, streaming):
            shown.take(make_set(10**12, 0, [], cameras), 10**12)
            scene._update_pictures(shown)
            pictures = [np.array(scene._cameras[name].picture.image) for name in (lost, late)]
            coloured.append([bool(np.ptp(picture.reshape(-1, 3), axis=1).any()) for picture in pictures])
        assert coloured == [[True, True], [False, True], [True, True]]
    finally:
        server.stop()
