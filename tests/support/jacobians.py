"""Analytic derivatives against central differences, for every Jacobian of the packages."""

from collections.abc import Callable

import numpy as np


def assert_jacobian(
    function: Callable[[np.ndarray], np.ndarray],
    analytic: np.ndarray,
    *,
    sizes: np.ndarray | float = 1e-6,
    rtol: float = 2e-6,
    atol: float = 0.0,
) -> None:
    """`analytic` (..., n) is the derivative at zero of `function`, which takes n numbers and gives (...).

    `sizes` (n,) are the steps; `rtol` is of a column's largest entry, `atol` where the function's values say it better:
    a central difference rounds at 1e-16 of them over the step. A column that is zero all over fails: it would be of a
    number that the function does not use.
    """
    sizes = np.broadcast_to(sizes, analytic.shape[-1])
    for column, (unit, size) in enumerate(zip(np.eye(analytic.shape[-1]), sizes, strict=True)):
        numeric = (function(size * unit) - function(-size * unit)) / (2 * size)
        largest = np.abs(numeric).max()
        assert largest > 0, f"column {column} is zero"
        np.testing.assert_allclose(
            analytic[..., column], numeric, atol=max(atol, rtol * largest), err_msg=f"column {column}"
        )
