"""Which cameras are named and left out, by what they saw set after set."""

from app.estimators.view_watch import Sight, ViewWatch

CAMERAS = ("a", "b", "c", "d")


def watched(sets: int, **sights: str) -> ViewWatch:
    watch = ViewWatch()
    for _ in range(sets):
        watch.learn({camera: sights.get(camera, "agrees") for camera in CAMERAS})  # pyright: ignore[reportArgumentType]
    return watch


def test_one_that_sees_hands_elsewhere_is_named_and_left_out():
    watch = watched(40, b="elsewhere")
    assert watch.doubtful == ["b"]
    assert "moved" in watch.notes()["b"]
    assert watch.left_out(CAMERAS) == ["b"]


def test_one_that_errs_now_and_then_as_a_detector_does_is_not_named():
    watch = ViewWatch()
    for number in range(200):
        seen: dict[str, Sight] = dict.fromkeys(CAMERAS, "agrees")
        seen["b"] = "elsewhere" if number % 5 < 2 else "agrees"
        watch.learn(seen)
        assert watch.doubtful == []


def test_one_in_which_a_network_errs_for_a_second_but_for_a_set_is_not_left_out():
    watch = watched(60)
    for number in range(1, 31):
        watch.learn({**dict.fromkeys(CAMERAS, "agrees"), "b": "agrees" if number % 12 == 0 else "elsewhere"})
        assert watch.doubtful == watch.left_out(CAMERAS) == []


def test_one_that_agrees_again_is_taken_back():
    watch = watched(40, b="elsewhere")
    for _ in range(3):
        watch.learn(dict.fromkeys(CAMERAS, "agrees"))
    assert watch.doubtful == [] and watch.notes() == {}
    assert watch.left_out(CAMERAS) == []


def test_one_that_sees_hands_elsewhere_is_not_taken_back_because_it_then_sees_nothing():
    watch = watched(40, b="elsewhere")
    for _ in range(40):
        watch.learn({**dict.fromkeys(CAMERAS, "agrees"), "b": "nothing"})  # pyright: ignore[reportArgumentType]
        assert watch.doubtful == watch.left_out(CAMERAS) == ["b"]


def test_one_that_sees_nothing_is_named_but_not_left_out_and_two_always_remain():
    watch = watched(40, b="nothing")
    assert watch.doubtful == ["b"]
    assert all(not watch.left_out(CAMERAS) for _ in range(20))
    watch = watched(41, b="elsewhere", c="elsewhere", d="elsewhere")
    assert watch.left_out(CAMERAS) == []


def test_a_few_sets_name_nobody():
    assert watched(20, b="elsewhere").doubtful == []
