"""In which views a hand is looked at, where more cameras see it than the network takes."""

from collections.abc import Sequence

import numpy as np

from app.estimators.settings import ViewChoiceSettings


def best_views(rays: np.ndarray, detail: np.ndarray, trust: np.ndarray, most: int) -> list[int]:
    """At most so many of the views, in rising order, by their directions (n, 3) of length 1, from camera to hand.

    Views that look across each other tell more of a point than ones side by side. One view's information about it is
    `detail`^2 (I - r r'), weighted by its `trust`; taken is, one after the other, whichever raises the determinant of
    the sum most (D-optimal design, greedily: Wynn, The sequential generation of D-optimum experimental designs, 1970).
    """
    if len(rays) <= most:
        return list(range(len(rays)))
    each = (trust * detail**2)[:, None, None] * (np.eye(3) - rays[:, :, None] * rays[:, None, :])
    total, left, chosen = 1e-6 * np.eye(3), list(range(len(rays))), []
    for _ in range(most):
        best = left[int(np.argmax(np.linalg.det(total + each[left])))]
        left.remove(best)
        chosen.append(best)
        total = total + each[best]
    return sorted(chosen)


class SeenIn:
    """How surely each view showed a hand when it was looked at last. That is forgotten, so that each is tried again."""

    def __init__(self, settings: ViewChoiceSettings = ViewChoiceSettings()) -> None:  # noqa: B008 - frozen
        self._settings = settings
        self._presence: dict[str, float] = {}

    def learn(self, camera_ids: Sequence[str], presence: Sequence[float]) -> None:
        """Of the views that were looked at, in one set: the probabilities that the hand is in them."""
        forgets = self._settings.forgets
        self._presence = {name: value + forgets * (1 - value) for name, value in self._presence.items()}
        self._presence.update(zip(camera_ids, map(float, presence), strict=True))

    def trust(self, camera_ids: Sequence[str]) -> np.ndarray:
        """(n,), 1 for a view that was not looked at lately."""
        least = self._settings.least_trust
        return np.array([max(least, self._presence.get(name, 1.0)) for name in camera_ids])
