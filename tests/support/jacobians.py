"""Analytic derivatives against central differences, for every Jacobian of the packages."""

from collections.abc import Callable

import numpy as np


def assert_jacobian(
    function: Callable[[np.ndarray], np.ndarray],
    analytic: np.ndarray,
    *,
    sizes: np.ndarray | float = 1e-6,
    rtol: float = 2e-6,
) -> None:
    """`analytic` (..., n) is the derivative at zero of `function`, which takes n numbers and gives (...).

    `sizes` (n,) are the steps. `rtol` is of a column's largest entry: central differences in double precision are good
    to about 1e-9 of the function's values over the step, and none of ours needs more. A column that is zero all over
    fails: it would be of a number that the function does not use.
    """
    sizes = np.broadcast_to(sizes, analytic.shape[-1])
    for column, (unit, size) in enumerate(zip(np.eye(analytic.shape[-1]), sizes, strict=True)):
        numeric = (function(size * unit) - function(-size * unit)) / (2 * size)
        largest = np.abs(numeric).max()
        assert largest > 0, f"column {column} is zero"
        np.testing.assert_allclose(analytic[..., column], numeric, atol=rtol * largest, err_msg=f"column {column}")
