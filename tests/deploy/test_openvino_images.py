"""Image networks on OpenVINO: what is kept for the next start answers the same, and can be lost at any time."""

from pathlib import Path

import numpy as np
import pytest

from calibration.errors import UserError
from models.weights import mediapipe_model

openvino_images = pytest.importorskip("deploy.engines.openvino_images", exc_type=ModuleNotFoundError)
SHAPE = (192, 192, 3)
IMAGES = np.random.default_rng(0).integers(0, 256, (5, *SHAPE), dtype=np.uint8)


def answers(cache: Path) -> list[np.ndarray]:
    path = mediapipe_model("palm_detection")
    network = openvino_images.OpenvinoImages(path, path.read_bytes(), SHAPE, cache=cache)
    assert network.outputs == ("boxes", "scores")
    found = network(IMAGES)
    network.close()
    return found


def test_the_kept_network_answers_as_the_compiled_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, made = openvino_images._compile, []
    monkeypatch.setattr(openvino_images, "_compile", lambda *given: made.append(given) or compiled(*given))
    first, second = answers(tmp_path), answers(tmp_path)
    assert len(made) == 1
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
    for index, image in enumerate(IMAGES):
        alone = openvino_images.OpenvinoImages(
            mediapipe_model("palm_detection"), mediapipe_model("palm_detection").read_bytes(), SHAPE, cache=tmp_path
        )([image])
        np.testing.assert_array_equal(alone[0][0], first[0][index])


@pytest.mark.parametrize("damage", ["cut", "emptied", "other bytes"])
def test_a_damaged_one_is_compiled_anew(damage: str, tmp_path: Path) -> None:
    whole = answers(tmp_path)
    (file,) = tmp_path.glob("openvino-palm_detection-*/*")
    content = file.read_bytes()
    file.write_bytes({"cut": content[: len(content) // 2], "emptied": b"", "other bytes": b"none " * 1000}[damage])
    for one, other in zip(answers(tmp_path), whole, strict=True):
        np.testing.assert_array_equal(one, other)


def test_it_starts_where_nothing_can_be_kept(tmp_path: Path) -> None:
    file = tmp_path / "cache"
    file.touch()  # where the folder would have to be
    assert len(answers(file)) == 2


def test_other_images_are_refused_and_nothing_is_kept(tmp_path: Path) -> None:
    path = mediapipe_model("palm_detection")
    with pytest.raises(UserError, match="takes images of any x 192 x 192 x 3, expected batch x 64 x 64 x 3"):
        openvino_images.OpenvinoImages(path, path.read_bytes(), (64, 64, 3), cache=tmp_path)
    assert not list(tmp_path.glob("openvino-*"))
