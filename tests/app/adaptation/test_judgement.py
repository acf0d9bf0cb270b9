"""When an adapted network is refused, and what is said of it."""

from typing import Any

import pytest

from app.adaptation.judgement import refusal
from app.adaptation.settings import JudgementSettings

HELD = {"withheld_percent_with_missed": 6.0, "withheld_missed": 0.05, "withheld_hands": 2000}
SIMULATED = {"packaged": {"mpjpe_mm": 8.0}, "adapted": {"mpjpe_mm": 8.1}}


def said(after: dict[str, Any], simulated: dict[str, Any] = SIMULATED, before: dict[str, Any] = HELD) -> str | None:
    return refusal({"packaged": before, "adapted": {**HELD, **after}}, simulated, JudgementSettings())


def test_one_that_is_better_where_nothing_was_learned_is_kept() -> None:
    assert said({"withheld_percent_with_missed": 5.5}) is None


def test_a_few_more_missed_hands_of_few_are_chance() -> None:
    """Nine of 290, of which every fifth is missed anyway; not 600 of 20,000."""
    after = {"withheld_percent_with_missed": 5.5, "withheld_missed": 0.245}
    few = {**HELD, "withheld_missed": 0.214, "withheld_hands": 290}
    assert said(after, before=few) is None
    many = said(after, before={**few, "withheld_hands": 20_000})
    assert many is not None and "3.1% more than before" in many


@pytest.mark.parametrize(
    ("after", "simulated", "reason"),
    [
        (
            {"withheld_percent_with_missed": 6.1},
            SIMULATED,
            "is 6.1 % of the hand's size, missed hands included, and was 6.0 % before",
        ),
        ({"withheld_percent_with_missed": 6.0}, SIMULATED, "and was 6.0 % before"),
        (
            {"withheld_percent_with_missed": 5.5, "withheld_missed": 0.08},
            SIMULATED,
            "misses 8.0% .* 3.0% more than before",
        ),
        (
            {"withheld_percent_with_missed": 5.5},
            {**SIMULATED, "adapted": {"mpjpe_mm": 8.5}},
            "is 8.5 mm, and was 8.0 mm before",
        ),
        ({"withheld_percent_with_missed": None}, SIMULATED, "no hand is seen"),
    ],
)
def test_one_that_is_not_is_refused_with_the_reason(after, simulated, reason) -> None:
    found = said(after, simulated)
    assert found is not None
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(found)
