"""Which views of a hand are put aside, and what they last saw."""

from app.estimators.settings import JudgeSettings
from app.estimators.ust_hand.view_trust import ViewTrust

CAMERAS = ("a", "b", "c", "d")


def test_what_a_view_that_was_put_aside_saw_is_what_its_last_look_did():
    trust = ViewTrust(JudgeSettings())
    trust.learn({**dict.fromkeys(CAMERAS, "agrees"), "b": "elsewhere"}, CAMERAS)
    assert trust.aside == {"b": "elsewhere"}
    trust.learn({**dict.fromkeys(CAMERAS, "agrees"), "b": "nothing"}, CAMERAS)
    assert trust.aside == {"b": "nothing"}
    trust.learn(dict.fromkeys("acd", "agrees"), "acd")
    assert trust.aside == {"b": "nothing"}
    trust.learn(dict.fromkeys(CAMERAS, "agrees"), CAMERAS)
    assert trust.aside == {}
