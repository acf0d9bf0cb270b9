"""What may tell when videos began, in the order in which it is tried."""

from typing import Literal

SyncMethod = Literal["sound", "flash", "motion"]
METHODS: tuple[SyncMethod, ...] = ("sound", "flash", "motion")
