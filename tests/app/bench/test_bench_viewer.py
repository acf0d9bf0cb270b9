"""`usthand bench viewer`, and the count of redraws that it reads."""

import pytest

from app.viewer.redraws import Redraws
from tests.support.live_run import last_json, usthand


def test_redraws_are_counted_from_the_first_and_their_work_is_without_the_waiting():
    redraws = Redraws()
    assert redraws.summary() == {}
    redraws.add(0.0, 3.0)
    for number in range(1, 101):
        began_s = 3.0 + number / 25
        redraws.add(began_s, began_s + (0.010 if number % 2 else 0.020))
    summary = redraws.summary()
    assert summary["redraws"] == 100 and summary["redraws_per_s"] == pytest.approx(25, rel=0.01)
    assert summary["redraw_ms"] == {"p50": pytest.approx(15), "p99": pytest.approx(20)}


@pytest.mark.slow
def test_the_bench_compares_a_run_with_a_viewer_to_one_without():
    done = usthand("bench", "viewer", "--seconds", "3", "--rounds", "1", "--json")
    assert done.returncode == 0, done.stderr
    result = last_json(done.stdout)
    assert result["redraws_per_s"] > 0 and result["redraw_ms"]["p50"] <= result["redraw_ms"]["p99"]
    rates = result["sets_per_s"]
    share = 1 - rates["with_viewer"] / rates["without_viewer"]
    assert result["difference_percent"] == pytest.approx(100 * share, abs=0.2)


def test_without_xvfb_the_bench_says_what_installs_it(tmp_path):
    done = usthand("bench", "viewer", "--seconds", "1", "--rounds", "1", env={"PATH": str(tmp_path)})
    assert done.returncode == 2 and "xvfb" in done.stderr
    done = usthand("bench", "viewer", "--cameras", "17")
    assert done.returncode == 2 and "2 to 16" in done.stderr
