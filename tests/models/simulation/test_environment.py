"""Light of panoramas: against integrals that are known or summed up directly, and folders that hold none."""

from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from calibration.errors import UserError
from models.data.generate import GenerateSettings, person_shards
from models.simulation.environment import lighting_of, panoramas_in, read_panorama
from models.simulation.panorama import directions, harmonics, irradiance, picture, solid_angles, turned
from models.simulation.vertex_light import light_around
from tests.support.live_run import usthand

H, W = 64, 128
TOWARDS = directions(H, W)


def normals(count: int = 200) -> np.ndarray:
    random = np.random.default_rng(4).normal(size=(count, 3))
    return random / np.linalg.norm(random, axis=1, keepdims=True)


def summed(radiance: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """What white matt surfaces (N, 3) reflect, (N, 3), every pixel of the panorama being a lamp of its own."""
    cosine = np.maximum(unit @ TOWARDS.reshape(-1, 3).T, 0)
    return cosine @ (radiance * solid_angles(H, W)[..., None]).reshape(-1, 3) / np.pi


def test_the_harmonics_are_orthonormal() -> None:
    basis = harmonics(TOWARDS).reshape(-1, 9)
    products = basis.T @ (basis * np.broadcast_to(solid_angles(H, W), (H, W)).reshape(-1, 1))
    np.testing.assert_allclose(products, np.eye(9), atol=2e-3)


def test_half_a_white_sky_lights_as_the_integral_says() -> None:
    """Upper half of radiance 1: (1 + n_z) / 2, which has no harmonics beyond the first order."""
    sky = np.zeros((H, W, 3))
    sky[: H // 2] = [1.0, 0.5, 0.25]
    expected = (0.5 + 0.5 * normals()[:, 2:]) * [1.0, 0.5, 0.25]
    np.testing.assert_allclose(harmonics(normals()) @ irradiance(sky), expected, atol=2e-3)


def test_any_light_is_within_the_three_percent_of_the_paper() -> None:
    random = np.random.default_rng(2)
    radiance = np.exp(cv2.resize(random.normal(0, 1.5, (8, 16, 3)), (W, H), interpolation=cv2.INTER_CUBIC))
    found, expected = light_around(normals(), irradiance(radiance)), summed(radiance, normals())
    assert np.abs(found - expected).mean() < 0.03 * expected.mean()


def test_a_sun_becomes_a_lamp_and_no_light_is_lost() -> None:
    radiance = np.full((H, W, 3), 0.2, np.float32)
    radiance[12:14, 40:42] = [400.0, 380.0, 300.0]
    lighting, gain = lighting_of(radiance)
    (lamp,) = lighting.lights
    sun = TOWARDS[12:14, 40:42].mean((0, 1))
    assert np.rad2deg(np.arccos(sun @ lamp.towards_world / np.linalg.norm(sun))) < 0.5
    assert lighting.around is not None
    unit = normals()
    cosine = np.maximum(unit @ np.array(lamp.towards_world), 0)[:, None]
    both = light_around(unit, lighting.around) + cosine * np.array(lamp.radiance)
    expected = gain * summed(radiance, unit)
    assert np.abs(both - expected).max() < 0.02 * expected.max()


def test_even_light_has_no_lamp() -> None:
    lighting, _ = lighting_of(np.full((H, W, 3), 7.0, np.float32))
    assert lighting.lights == () and lighting.around is not None
    np.testing.assert_allclose(light_around(normals(), lighting.around), 0.6, rtol=1e-3)


def test_a_picture_shows_what_lies_in_its_directions_also_when_turned() -> None:
    """A panorama whose colours are its directions gives those of the rays back."""
    panorama = (0.5 + 0.5 * TOWARDS).astype(np.float32)
    rays = np.array([1.0, 0.3, 0.2]) + 0.3 * np.random.default_rng(1).uniform(-1, 1, (20, 30, 3))
    unit = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
    seen = (picture(panorama, rays, 1.0)[..., ::-1] / 255.0) ** 2.2
    np.testing.assert_allclose(seen, 0.5 + 0.5 * unit, atol=0.02)
    quarter = (picture(turned(panorama, 0.25), rays, 1.0)[..., ::-1] / 255.0) ** 2.2
    # A quarter to the right: what was ahead along +x is now along -y, so +y shows what +x did.
    np.testing.assert_allclose(quarter[..., 2], seen[..., 2], atol=0.02)
    assert np.abs(quarter[..., :2] - 0.5 - 0.5 * unit[..., :2] @ [[0, 1], [-1, 0]]).max() < 0.02


@pytest.mark.parametrize("name", ["place.hdr", "place.jpg", "place.exr"])
def test_panoramas_are_read_as_linear_light(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCV_IO_ENABLE_OPENEXR", "1")
    linear = np.broadcast_to(np.array([0.6, 0.3, 0.1], np.float32), (32, 64, 3))
    written = linear if not name.endswith("jpg") else np.rint(255 * linear ** (1 / 2.2)).astype(np.uint8)
    assert cv2.imwrite(str(tmp_path / name), np.ascontiguousarray(written[..., ::-1]))
    assert panoramas_in(tmp_path) == (tmp_path / name,)
    np.testing.assert_allclose(read_panorama(tmp_path / name), linear, atol=0.01)


def test_folders_without_panoramas_are_refused_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no panorama in it"):
        panoramas_in(tmp_path)
    (tmp_path / "broken.hdr").write_bytes(b"#?RADIANCE\n")
    with pytest.raises(UserError, match=r"broken\.hdr: not a panorama"):
        panoramas_in(tmp_path)
    (tmp_path / "broken.hdr").unlink()
    cv2.imwrite(str(tmp_path / "photo.png"), np.full((30, 40, 3), 9, np.uint8))
    with pytest.raises(UserError, match="40 x 30 pixels; expected an equirectangular"):
        panoramas_in(tmp_path)
    refused = usthand("simulate-crops", tmp_path / "out", "--people", "1", "--hdri", tmp_path / "nowhere")
    assert refused.returncode == 2
    assert len(refused.stderr.strip().splitlines()) == 1 and "nowhere" in refused.stderr
    assert not (tmp_path / "out").exists()


def test_crops_are_of_the_same_hands_in_the_panoramas_light(tmp_path: Path) -> None:
    settings = GenerateSettings(people=1, clips=1, frames=1, views=3, size_px=64, seed=3)
    plain, *lit = [person_shards(settings, 0)[0]]
    for colour in ([0.9, 0.2, 0.02], [0.02, 0.2, 0.9]):
        folder = tmp_path / str(colour[0])
        folder.mkdir()
        panorama = np.full((32, 64, 3), colour[::-1], np.float32)
        assert cv2.imwrite(str(folder / "place.hdr"), panorama)
        lit += person_shards(msgspec.structs.replace(settings, hdri=str(folder)), 0)
    reds, blues = np.array([crops.crops_rgb.mean((0, 1, 2))[[0, 2]] for crops in (lit[0], plain, lit[1])]).T
    assert (reds[:-1] / blues[:-1] > 1.1 * reds[1:] / blues[1:]).all()
    for each in lit:
        np.testing.assert_array_equal(plain.labels_px, each.labels_px)
