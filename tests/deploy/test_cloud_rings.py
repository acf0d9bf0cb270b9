"""The ring of clouds against a plain list of what was pushed."""

import numpy as np
import pytest

from deploy.batches import Clouds, CloudWindow, EngineShape, empty_window, of_hands
from deploy.engines.cloud_rings import CloudRing

SHAPE = EngineShape(crop_px=64, hypotheses=2, anchors=1, frames=5, width=3)
MIRROR_X = np.diag([-1.0, 1.0, 1.0])


def clouds(random: np.random.Generator) -> Clouds:
    points = {"anchors_m": 42, "anchor_features": 21, "queries_m": 21, "query_features": 21}
    arrays = {name: random.normal(size=(2, count, 3)).astype(np.float32) for name, count in points.items()}
    zeros = {"keypoints_px": (2, 3, 21, 2), "confidence": (2, 3, 21), "presence": (2, 3), "right": (2, 3)}
    return Clouds(**arrays, **{name: np.zeros(shape) for name, shape in zeros.items()})


@pytest.mark.parametrize("mirror", [np.eye(3), MIRROR_X])
@pytest.mark.parametrize(
    "script",
    ["p", "ppp", "ppppp", "ppmpp", "pmmmpp", "pppppmmmmmmp", "mpm", "ppw", "pppwmppwp", "ppoW", "pppopW", "poppppppW"],
)
def test_a_window_is_the_last_five_frames_seen_from_the_newest_origin(script, mirror):
    random = np.random.default_rng(3)
    ring = CloudRing(SHAPE, mirror)
    pushed: list[tuple[Clouds, np.ndarray] | None] = [None] * 5
    for step in script:
        if step == "m":
            ring.miss()
            pushed.append(None)
        elif step == "w":
            ring.withdraw(ring.count)
            pushed[-1] = None
        elif step == "o":
            old = ring.count, len(pushed) - 1
        elif step == "W":
            ring.withdraw(old[0])
            pushed[old[1]] = None
        else:
            new, origin = clouds(random), random.normal(size=3)
            pushed.append((new, origin))
            ring.push(new, 1, origin)
    window = ring.window()
    for slot, each in enumerate(pushed[-5:]):
        assert window.frame_mask[0, slot] == (each is not None)
        if each is None:
            continue
        for name in ("anchors_m", "anchor_features", "queries_m", "query_features"):
            assert np.array_equal(getattr(window, name)[0, slot], getattr(each[0], name)[1]), name
        if pushed[-1] is not None:
            assert window.origins_m[0, slot] == pytest.approx(mirror @ (each[1] - pushed[-1][1]), abs=1e-6)


def test_rings_share_a_window_and_leave_each_other_alone():
    random = np.random.default_rng(4)
    shared = empty_window(SHAPE, 2)
    rings = [CloudRing(SHAPE, np.eye(3), CloudWindow(*of_hands(shared, [hand]))) for hand in (0, 1)]
    for number in range(7):
        new = clouds(random)
        rings[0].push(new, 0, np.full(3, 0.1 * number))
        before = shared.anchors_m[0].copy()
        if number % 3:
            rings[1].push(new, 1, np.full(3, 0.2 * number))
        else:
            rings[1].miss()
        assert np.array_equal(shared.anchors_m[0], before)
    alone = CloudRing(SHAPE, np.eye(3))
    for ring in rings:
        ring.window()
    assert shared.frame_mask.tolist() == [[True] * 5, [True, False, True, True, False]]
    assert shared.origins_m[0, :, 0] == pytest.approx([-0.4, -0.3, -0.2, -0.1, 0])
    # A hand that takes another's place begins with an empty ring.
    CloudRing(SHAPE, MIRROR_X, CloudWindow(*of_hands(shared, [0]))).push(clouds(random), 0, np.zeros(3))
    assert shared.frame_mask.tolist() == [[False] * 4 + [True], [True, False, True, True, False]]
    assert not alone.window().frame_mask.any()
