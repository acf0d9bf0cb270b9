"""Each case of a live run that once went wrong, and the tests that tell whether it is right: runs them, says which are.

    python -m tests.faults.live_cases                  cases with recordings take minutes

Cases are kept outside the repository, with what was seen and what is right; those that need no recording are made anew.
"""

import subprocess
import sys

import pytest

_SYNC, _STREAM = "tests/app/assembly/test_synchroniser.py", "tests/app/sources/test_network_stream.py"
_LIVE = "tests/faults/test_live_streams.py"
CASES: dict[str, tuple[str, ...]] = {
    "01 slow subscriber": (
        "tests/app/transport/test_sockets.py::test_a_slow_subscriber_gets_the_newest_message_and_no_queue",
    ),
    "02 latency beyond the deadline": (
        f"{_SYNC}::test_a_camera_that_is_known_to_come_late_is_waited_for",
        f"{_SYNC}::test_a_camera_that_comes_later_than_a_set_waits_is_named_and_delays_no_set_further",
        f"{_LIVE}::test_a_stream_that_is_known_to_be_late_is_in_the_sets",
        f"{_LIVE}::test_a_stream_that_is_later_than_a_set_waits_is_named",
    ),
    "03 unequal rates": (
        f"{_SYNC}::test_each_frame_of_a_slower_camera_joins_the_nearest_set",
        f"{_SYNC}::test_one_fast_camera_makes_no_sets_of_one_view",
        f"{_LIVE}::test_streams_of_unequal_rates_make_no_sets_of_one_view",
    ),
    "04 size changes mid-stream": (
        f"{_STREAM}::test_a_stream_that_changes_its_size_is_lost_and_the_change_is_named",
        f"{_STREAM}::test_a_stream_that_changes_its_chroma_shows_true_pictures_and_says_so",
    ),
    "05 phantom second hand": (
        "tests/faults/test_live_cases.py::test_hands_that_come_back_are_both_followed_and_none_twice",
    ),
    "06 MJPEG's rate": (f"{_STREAM}::test_a_rate_that_jpeg_pictures_over_http_do_not_tell_is_not_held_against_them",),
    "07 one bad view": (
        "tests/faults/test_live_cases.py::test_one_view_that_stands_still_costs_no_more_than_itself",
        "tests/faults/test_live_cases.py::test_two_exchanged_cameras_of_a_recording_are_named_by_ust_hand",
    ),
    "08 two right hands": (
        "tests/faults/test_live_cases.py::test_the_right_hands_of_two_people_are_two_right_hands",
        "tests/faults/test_two_people.py",
    ),
    "09 old pixels, new stamp": (
        f"{_STREAM}::test_frames_that_a_network_delays_are_known_to_be_old",
        f"{_STREAM}::test_what_a_stream_queued_while_it_was_opened_is_not_shown_as_new",
    ),
    "10 bursts": (
        f"{_SYNC}::test_a_camera_whose_frames_come_in_bursts_costs_its_own_view_only",
        "tests/app/run/test_replay.py::test_a_camera_whose_frames_came_in_bursts_makes_no_sets_of_its_own_rate",
    ),
    "11 password": (f"{_STREAM}::test_a_password_in_the_address_is_not_shown", "tests/app/run/test_logs.py"),
    "13 two grabbers": ("tests/faults/test_senders.py",),
    "18 poses lost": (
        "tests/faults/test_processes.py::test_the_poses_of_an_interrupted_replay_are_kept",
        "tests/faults/test_processes.py::test_seconds_end_a_replay_well_and_keep_its_poses",
    ),
    "19 wrong sync.fps": (
        f"{_SYNC}::test_a_rate_in_the_rig_file_that_the_cameras_contradict_is_named_and_not_gone_by",
        f"{_SYNC}::test_a_trigger_at_another_rate_than_the_rig_file_says_makes_whole_sets",
        f"{_LIVE}::test_streams_at_half_the_rate_of_the_rig_file_make_whole_sets_and_are_named",
    ),
}


def main() -> int:
    wrong = 0
    for case, tests in CASES.items():
        done = subprocess.run([sys.executable, "-m", "pytest", "-q", *tests], capture_output=True, text=True)
        skipped = " passed" not in done.stdout and done.returncode == pytest.ExitCode.OK
        wrong += done.returncode != pytest.ExitCode.OK
        verdict = "not looked at" if skipped else "WRONG" if done.returncode else "right"
        sys.stdout.write(f"{case:32} {verdict}: {done.stdout.strip().splitlines()[-1]}\n")
        sys.stdout.flush()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
