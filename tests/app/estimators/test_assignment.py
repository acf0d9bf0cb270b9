"""The assignment of detections to hands, against scipy's."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from app.estimators.multiview.assignment import best_assignment


@pytest.mark.parametrize("seed", range(40))
def test_the_sum_is_the_largest(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = int(random.integers(1, 9))
    columns = rows + int(random.integers(0, 9))
    worth = random.normal(size=(rows, columns))
    if seed % 2:
        worth = np.round(worth, 1)  # with ties
    worth[random.random(worth.shape) < 0.3] = -np.inf
    worth = np.column_stack([worth, np.full((rows, rows), -1.0)])
    picks = best_assignment(worth)
    assert len(set(picks)) == rows
    assert worth[np.arange(rows), picks].sum() == pytest.approx(
        worth[linear_sum_assignment(worth, maximize=True)].sum()
    )


def test_no_hand_and_no_way() -> None:
    assert best_assignment(np.zeros((0, 3))) == []
    with pytest.raises(ValueError, match="forbidden"):
        best_assignment(np.array([[0.0, -np.inf], [1.0, -np.inf]]))
