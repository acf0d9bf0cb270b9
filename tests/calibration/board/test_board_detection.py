"""Finding boards in rendered images, whose corners are known exactly."""

from dataclasses import replace

import cv2
import msgspec
import numpy as np
import pytest

from calibration.board.board import Board
from calibration.board.detector import detect_board
from calibration.board.hints import hint_from_images, two_boards_hint
from calibration.board.pattern import rasterise
from calibration.board.rendering import BoardRenderer, Exposure
from calibration.board.tracker import BoardTracker
from tests.support.board_images import (
    APRILGRID,
    CAMERAS,
    CHARUCO,
    CHESSBOARD,
    EVEN_CHARUCO,
    REAL_CHARUCO,
    picture,
    pose,
)

BOARDS = {
    "charuco": CHARUCO,
    "inverted": REAL_CHARUCO,
    "even": EVEN_CHARUCO,
    "chessboard": CHESSBOARD,
    "aprilgrid": APRILGRID,
}


def rms(found_px: np.ndarray, true_px: np.ndarray) -> float:
    return float(np.sqrt(((found_px - true_px) ** 2).sum(axis=1).mean()))


@pytest.mark.parametrize("lens", CAMERAS)
@pytest.mark.parametrize("name", BOARDS)
def test_corners_are_found_to_a_fraction_of_a_pixel(name, lens):
    image, truth = picture(BOARDS[name], lens)
    found = detect_board(image, BOARDS[name])
    assert found.found, found.rejected
    assert len(found.corner_ids) >= 0.9 * len(truth)
    assert rms(found.corners_px, truth[found.corner_ids]) < 0.08
    assert np.linalg.norm(found.corners_px - truth[found.corner_ids], axis=1).max() < 0.4


@pytest.mark.parametrize("scale", [0.22, 0.9])
def test_corners_of_small_and_large_boards(scale):
    image, truth = picture(CHARUCO, share=scale, turn=(0.1, -0.2, 0.1))
    found = detect_board(image, CHARUCO)
    assert len(found.corner_ids) >= 20
    assert rms(found.corners_px, truth[found.corner_ids]) < 0.15


def test_renderer_agrees_with_opencv_on_what_a_charuco_board_is():
    """OpenCV's own detector, with OpenCV's own board, finds the same corners under the same numbers."""
    image, truth = picture(CHARUCO, turn=(0.1, 0.1, 0.0))
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_5X5_100)
    theirs = cv2.aruco.CharucoBoard((CHARUCO.columns, CHARUCO.rows), CHARUCO.side_m, 0.022, dictionary)
    corners, ids, _, _ = cv2.aruco.CharucoDetector(theirs).detectBoard(image)
    assert len(ids) == len(truth)
    assert np.abs(np.asarray(corners)[:, 0] - truth[np.asarray(ids, dtype=np.int64).reshape(-1)]).max() < 1.0
    assert np.allclose(theirs.getChessboardCorners(), CHARUCO.corners_board_m, atol=1e-6)


@pytest.mark.parametrize("legacy", [False, True])
def test_layout_of_an_even_charuco_is_recognised(legacy):
    drawn = msgspec.structs.replace(EVEN_CHARUCO, legacy=legacy)
    image, truth = picture(drawn)
    found = detect_board(image, EVEN_CHARUCO)
    assert found.legacy is legacy
    assert len(found.corner_ids) == len(truth)
    assert rms(found.corners_px, truth[found.corner_ids]) < 0.08
    assert not detect_board(image, msgspec.structs.replace(EVEN_CHARUCO, legacy=not legacy)).found


def test_layout_matters_only_to_boards_with_even_rows():
    image, _ = picture(CHARUCO)
    assert detect_board(image, CHARUCO).legacy is None


@pytest.mark.parametrize("name", ["charuco", "inverted", "aprilgrid"])
def test_mirror_image_is_found_and_told_in_its_own_pixels(name):
    board = BOARDS[name]
    image, truth = picture(board)
    assert not detect_board(image, board).mirrored
    found = detect_board(np.ascontiguousarray(image[:, ::-1]), board)
    assert found.mirrored
    in_mirror = np.stack([image.shape[1] - 1 - truth[:, 0], truth[:, 1]], axis=1)
    assert len(found.corner_ids) >= 0.9 * len(truth)
    # Off by one column, a mirroring with W - x would be a whole pixel out.
    assert rms(found.corners_px, in_mirror[found.corner_ids]) < 0.1


def test_chessboard_turned_upside_down_keeps_its_numbers():
    image, truth = picture(CHESSBOARD, turn=(0.2, 0.1, np.pi))
    found = detect_board(image, CHESSBOARD)
    assert rms(found.corners_px, truth[found.corner_ids]) < 0.08


def test_aprilgrid_that_counts_from_its_top_left_is_recognised():
    """Rows of tags in reverse order make Kalibr's drawing, which counts upward, one that counts downward."""
    square_px, gap_px = 104, 24
    drawing = rasterise(APRILGRID, square_px / APRILGRID.side_m, margin_m=0.05)
    top = round(0.05 * square_px / APRILGRID.side_m)
    rows = [drawing[top + row * square_px : top + (row + 1) * square_px] for row in range(APRILGRID.rows)]
    downward = drawing.copy()
    downward[top : top + APRILGRID.rows * square_px] = np.concatenate(rows[::-1])
    assert not np.array_equal(drawing, downward)
    expected = APRILGRID.corners_board_m[:, :2] * square_px / APRILGRID.side_m + top + gap_px - 0.5
    for image in (drawing, downward):
        found = detect_board(cv2.GaussianBlur(image, (0, 0), 0.8), APRILGRID)
        assert len(found.corner_ids) >= 76
        assert rms(found.corners_px, expected[found.corner_ids]) < 0.2


def test_hidden_corners_are_left_out_and_the_others_kept():
    image, truth = picture(CHARUCO, share=0.7, turn=(0.1, 0.1, 0.1))
    middle = truth.mean(axis=0)
    hidden = np.linalg.norm(truth - middle, axis=1) < 70
    covered = cv2.circle(image.copy(), (round(middle[0]), round(middle[1])), 85, (150.0,), -1)
    found = detect_board(covered, CHARUCO)
    assert hidden.sum() >= 2
    assert not set(found.corner_ids) & set(np.flatnonzero(hidden))
    assert len(found.corner_ids) >= 0.5 * (~hidden).sum()
    assert rms(found.corners_px, truth[found.corner_ids]) < 0.1


def test_board_that_leaves_the_image_is_found_in_part():
    image, truth = picture(CHARUCO, share=0.8, turn=(0.1, 0.1, 0.0), place=(0.7, 0.0))
    found = detect_board(image, CHARUCO)
    outside = np.flatnonzero(truth[:, 0] > image.shape[1] - 1)
    assert len(outside) and found.found
    assert not set(found.corner_ids) & set(outside)
    assert rms(found.corners_px, truth[found.corner_ids]) < 0.1


def test_blurred_dark_and_empty_images_are_turned_down_for_their_reason():
    def reason(exposure: Exposure) -> str | None:
        image, _ = picture(REAL_CHARUCO, exposure=exposure, share=0.75, turn=(0.1, 0.1, 0.1))
        return detect_board(image, REAL_CHARUCO).rejected

    assert reason(Exposure(noise=2.0)) is None
    assert reason(Exposure(blur_px=16.0)) in ("blur", "no board", "few corners")
    assert reason(Exposure(motion_px=(36.0, 0.0))) in ("blur", "no board", "few corners")
    assert reason(Exposure(dark=10.0, bright=28.0)) in ("dark", "no board")
    empty = np.random.default_rng(0).integers(0, 255, (720, 1280), dtype=np.uint8)
    assert detect_board(empty, REAL_CHARUCO).rejected == "no board"
    assert detect_board(empty, CHESSBOARD).rejected == "no board"


def test_blur_and_noise_raise_the_expected_error():
    exposures = (Exposure(noise=1.0), Exposure(noise=12.0), Exposure(blur_px=3.0, noise=1.0))
    sharp, noisy, blurred = (
        detect_board(picture(CHARUCO, exposure=exposure, share=0.8)[0], CHARUCO) for exposure in exposures
    )
    assert sharp.std_px < 0.12
    assert noisy.std_px > 1.2 * sharp.std_px
    assert blurred.std_px > 1.2 * sharp.std_px


def test_expected_error_is_near_the_true_one_where_noise_rules():
    exposure = Exposure(dark=20.0, bright=90.0, noise=7.0)
    errors, expected = [], []
    for turn in ((0.2, 0.1, 0.0), (-0.3, 0.2, 0.4), (0.1, -0.4, -0.2)):
        image, truth = picture(CHARUCO, exposure=exposure, share=0.7, turn=turn)
        found = detect_board(image, CHARUCO)
        errors.append(found.corners_px - truth[found.corner_ids])
        expected.append(found.std_px)
    true_std = float(np.sqrt((np.concatenate(errors) ** 2).mean()))
    assert 0.5 < float(np.mean(expected)) / true_std < 2.0


def test_tracker_follows_a_moving_board_and_finds_it_again():
    """The board crosses the image, is gone for some images, and comes back elsewhere."""
    camera, renderer, tracker = CAMERAS["pinhole5"], BoardRenderer(CHARUCO), BoardTracker(CHARUCO)
    gone = np.full((camera.height, camera.width), 90, np.uint8)
    for place in (-0.3, -0.22, -0.14, None, None, 0.3, 0.25):
        if place is None:
            assert not tracker.detect(gone).found
            continue
        T_cam_board = pose(CHARUCO, camera, share=0.4, place=(place, 0.05))
        found = tracker.detect(renderer.render(camera, T_cam_board))
        truth = renderer.corners_px(camera, T_cam_board)
        assert len(found.corner_ids) == len(truth)
        assert rms(found.corners_px, truth[found.corner_ids]) < 0.1


def test_large_images_are_searched_in_a_small_copy_and_refined_in_full():
    camera = replace(
        CAMERAS["pinhole5"], width=4000, height=3000, matrix=np.array([[3000, 0, 2000], [0, 3000, 1500], [0, 0, 1]])
    )
    renderer = BoardRenderer(CHARUCO)
    T_cam_board = pose(CHARUCO, camera, share=0.4)
    image = renderer.render(camera, T_cam_board, supersample=2)
    truth = renderer.corners_px(camera, T_cam_board)
    found = BoardTracker(CHARUCO).detect(image)
    assert len(found.corner_ids) == len(truth)
    assert rms(found.corners_px, truth[found.corner_ids]) < 0.1


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (CHARUCO, "ChArUco board of 5 x 7 with DICT_5X5"),
        (
            Board(type="charuco", columns=5, rows=7, square_m=0.03, dictionary="DICT_4X4_50", marker_m=0.022),
            "ChArUco board of 5 x 7 with DICT_4X4",
        ),
        (APRILGRID, "AprilGrid of 5 x 4 with DICT_APRILTAG"),
        (CHESSBOARD, "chessboard of 8 x 7"),
    ],
)
def test_a_wrong_board_is_named(shown, words):
    images = [picture(shown, turn=turn)[0] for turn in ((0.2, 0.1, 0.0), (-0.2, 0.3, 0.2))]
    asked = Board(type="charuco", columns=4, rows=5, square_m=0.054, dictionary="DICT_4X4_1000", marker_m=0.0405)
    hint = hint_from_images(images, asked)
    assert hint is not None and words in hint and "not a ChArUco board of 4 x 5" in hint
    assert hint_from_images(images, shown) is None


def test_two_boards_alike_in_one_image_are_told():
    image, _ = picture(CHARUCO, share=0.4)
    twice = np.concatenate([image, image], axis=1)
    assert detect_board(twice, CHARUCO).rejected == "two boards"
    assert "twice in 2 of 3 images" in str(two_boards_hint([twice, image, 255 - twice], CHARUCO))
    assert two_boards_hint([image, twice], CHARUCO) is None


def test_the_tracker_follows_a_board_that_is_turned_over_and_printed_inverted():
    image, truth = picture(CHARUCO, share=0.6)
    negative, tracker = 255 - image, BoardTracker(CHARUCO)
    for mirrored in (False, True, False):
        found = tracker.detect(np.ascontiguousarray(negative[:, ::-1]) if mirrored else negative)
        expected = truth.copy()
        if mirrored:
            expected[:, 0] = image.shape[1] - 1 - expected[:, 0]
        assert found.mirrored == mirrored and tracker.inverted
        assert rms(found.corners_px, expected[found.corner_ids]) < 0.1


@pytest.mark.parametrize("described", [CHARUCO, msgspec.structs.replace(CHARUCO, columns=CHARUCO.columns + 2)])
def test_a_hint_rests_on_markers_that_lie_on_the_board(described):
    """A marker elsewhere, or one that was read wrongly, may have any number."""
    image, _ = picture(CHARUCO, share=0.5)
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, str(CHARUCO.dictionary)))
    image[10:58, 10:58] = 255
    image[16:52, 16:52] = cv2.aruco.generateImageMarker(dictionary, 49, 36)
    hint = hint_from_images([image] * 3, described)
    if described == CHARUCO:
        assert hint is None
    else:
        assert hint is not None and f"of {CHARUCO.columns} x {CHARUCO.rows} with" in hint


TURNS = ((0.2, 0.1, 0.0), (-0.2, 0.3, 0.2), (0.3, -0.1, 0.1), (0.1, 0.3, 0.5))


def test_a_chessboard_that_was_described_by_its_inner_corners_is_named():
    """A smaller chessboard is found within it, at any place."""
    shown = Board(type="chessboard", columns=8, rows=5, square_m=0.03)
    described = msgspec.structs.replace(shown, columns=7, rows=4)
    images = [picture(shown, turn=turn)[0] for turn in TURNS[:3]]
    assert any(detect_board(image, described).found for image in images)
    assert hint_from_images(images, described) == ("this looks like a chessboard of 8 x 5, not a chessboard of 7 x 4")


@pytest.mark.parametrize("exposure", [Exposure(blur_px=4), Exposure(blur_px=2, dark=150, bright=600, background=350)])
def test_a_board_whose_markers_cannot_be_read_is_not_called_another_one(exposure):
    """Its squares still look like a chessboard, or like a few markers of some dictionary."""
    assert hint_from_images([picture(CHARUCO, exposure=exposure, turn=turn)[0] for turn in TURNS], CHARUCO) is None
