"""When an adapted network is refused, and what is said of it."""

from typing import Any

import pytest

from app.adaptation.judgement import forgets, refusal
from app.adaptation.settings import JudgementSettings

HELD = {"withheld_percent_with_missed": 6.0, "withheld_missed": 0.05, "withheld_hands": 2000}


def said(after: dict[str, Any], before: dict[str, Any] = HELD) -> str | None:
    return refusal({"packaged": before, "adapted": {**HELD, **after}}, JudgementSettings())


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
    ("after", "reason"),
    [
        (
            {"withheld_percent_with_missed": 6.1},
            "is 6.1 % of the hand's size, missed hands included, and was 6.0 % before",
        ),
        ({"withheld_percent_with_missed": 6.0}, "and was 6.0 % before"),
        ({"withheld_percent_with_missed": 5.5, "withheld_missed": 0.08}, "misses 8.0% .* 3.0% more than before"),
        ({"withheld_percent_with_missed": None}, "no hand is seen"),
    ],
)
def test_one_that_is_not_is_refused_with_the_reason(after, reason) -> None:
    found = said(after)
    assert found is not None
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(found)


def test_one_that_is_worse_on_other_hands_forgets_them() -> None:
    was = {"mpjpe_mm": 8.0}
    assert forgets({"packaged": was, "adapted": {"mpjpe_mm": 8.1}}, JudgementSettings()) is None
    said = forgets({"packaged": was, "adapted": {"mpjpe_mm": 8.5}}, JudgementSettings())
    assert said is not None and "is 8.5 mm, and was 8.0 mm before" in said
