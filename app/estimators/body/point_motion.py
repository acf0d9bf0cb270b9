"""A point that is measured now and then: a Kalman filter with a constant velocity and white acceleration noise.

Y. Bar-Shalom, X. R. Li and T. Kirubarajan, "Estimation with Applications to Tracking and Navigation", 2001, 6.2.2.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, eq=False)
class PointMotion:
    """State (6,) of place and velocity in metres and m/s, and its covariance (6, 6), at a time."""

    time_ns: int
    state: np.ndarray
    covariance: np.ndarray
    acceleration_psd: float

    @classmethod
    def start(
        cls, time_ns: int, point_m: np.ndarray, covariance_m2: np.ndarray, speed_sd_m_s: float, acceleration_psd: float
    ) -> "PointMotion":
        covariance = np.zeros((6, 6))
        covariance[:3, :3], covariance[3:, 3:] = covariance_m2, speed_sd_m_s**2 * np.eye(3)
        state = np.concatenate([point_m, np.zeros(3)])
        return cls(time_ns=time_ns, state=state, covariance=covariance, acceleration_psd=acceleration_psd)

    @property
    def point_m(self) -> np.ndarray:
        return self.state[:3]

    @property
    def covariance_m2(self) -> np.ndarray:
        return self.covariance[:3, :3]

    @property
    def sd_m(self) -> float:
        """The root mean square of the three axes' deviations."""
        return float(np.sqrt(np.trace(self.covariance_m2) / 3))

    def predict(self, time_ns: int) -> "PointMotion":
        """The state at a time; of one before its own, as it is."""
        dt = max(0.0, (time_ns - self.time_ns) * 1e-9)
        F = np.kron([[1, dt], [0, 1]], np.eye(3))
        noise = self.acceleration_psd * np.kron([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]], np.eye(3))
        return PointMotion(
            time_ns=max(time_ns, self.time_ns),
            state=F @ self.state,
            covariance=F @ self.covariance @ F.T + noise,
            acceleration_psd=self.acceleration_psd,
        )

    def update(self, point_m: np.ndarray, covariance_m2: np.ndarray) -> "PointMotion":
        """The state after the point (3,) was measured with a covariance (3, 3)."""
        gain = np.linalg.solve(self.covariance_m2 + covariance_m2, self.covariance[:3]).T
        covariance = self.covariance - gain @ self.covariance[:3]
        return PointMotion(
            time_ns=self.time_ns,
            state=self.state + gain @ (point_m - self.point_m),
            covariance=(covariance + covariance.T) / 2,
            acceleration_psd=self.acceleration_psd,
        )

    def at_distance(self, origin_m: np.ndarray, length_m: float, sd_m: float) -> "PointMotion":
        """The state where the point is known to be `length_m` from a place, give or take: linearised."""
        away = self.point_m - origin_m
        distance = float(np.linalg.norm(away))
        if distance < 1e-6:
            return self
        along = self.covariance[:, :3] @ (away / distance)
        gain = along / (along[:3] @ away / distance + sd_m**2)
        covariance = self.covariance - np.outer(gain, along)
        return PointMotion(
            time_ns=self.time_ns,
            state=self.state + gain * (length_m - distance),
            covariance=(covariance + covariance.T) / 2,
            acceleration_psd=self.acceleration_psd,
        )
