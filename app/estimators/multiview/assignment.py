"""Which hand takes which detection, each at most one: the linear assignment problem."""

import math

import numpy as np


def best_assignment(worth: np.ndarray) -> list[int]:
    """The column of each row, no column twice, with the largest sum of `worth` (R, C), R <= C; -inf forbids a pair.

    Shortest augmenting paths with potentials, one row after another (R. Jonker and A. Volgenant, "A shortest augmenting
    path algorithm for dense and sparse linear assignment problems", 1987). Plain Python, as there are a few hands and
    detections: importing scipy.optimize for it took the worker a third of a second and 50 MB.

    Raises ValueError where every assignment has a forbidden pair.
    """
    rows, columns = worth.shape
    cost = (-worth).tolist()
    # Row and column 0 stand for none: a row that looks for a column begins in column 0.
    of_row, of_column = [0.0] * (rows + 1), [0.0] * (columns + 1)
    owner, before = [0] * (columns + 1), [0] * (columns + 1)
    for row in range(1, rows + 1):
        owner[0], column = row, 0
        reached, done = [math.inf] * (columns + 1), [False] * (columns + 1)
        while owner[column]:
            done[column] = True
            here, nearest, step = owner[column], 0, math.inf
            for other in range(1, columns + 1):
                if done[other]:
                    continue
                reduced = cost[here - 1][other - 1] - of_row[here] - of_column[other]
                if reduced < reached[other]:
                    reached[other], before[other] = reduced, column
                if reached[other] < step:
                    nearest, step = other, reached[other]
            if not nearest:
                raise ValueError("every assignment has a forbidden pair")
            for other in range(columns + 1):
                if done[other]:
                    of_row[owner[other]] += step
                    of_column[other] -= step
                else:
                    reached[other] -= step
            column = nearest
        while column:
            owner[column] = owner[before[column]]
            column = before[column]
    taken = {of: column - 1 for column, of in enumerate(owner) if column and of}
    return [taken[row] for row in range(1, rows + 1)]
