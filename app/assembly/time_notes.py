"""What the user should know of cameras' times: rates that contradict rig.yaml, and cameras that come too late."""

from collections.abc import Callable, Mapping

from app.assembly.lane import Lane
from app.run.policy import Policy
from calibration.rig import SyncSettings


def longest_wait_ms(settings: SyncSettings, policy: Policy) -> float:
    """After its first frame a set waits no longer, whoever is missing; infinite where it waits for all."""
    if policy.waits_for_all or settings.deadline_ms is None:
        return policy.longest_wait_ms
    return settings.deadline_ms


def time_notes(
    lanes: Mapping[str, Lane], settings: SyncSettings, policy: Policy, same_rate: Callable[[float, float], bool]
) -> dict[str, str]:
    """One line for each camera of which there is something to say. `same_rate` compares periods."""
    notes: dict[str, str] = {}
    live = {camera_id: lane for camera_id, lane in lanes.items() if lane.live}
    periods_ns = {camera_id: lane.period_ns for camera_id, lane in live.items() if lane.period_ns}
    longest_ms = longest_wait_ms(settings, policy)
    least_ns = min((lane.delay_ns for lane in live.values()), default=0)
    for camera_id, lane in live.items():
        behind_ms = (lane.delay_ns - least_ns) / 1e6
        if lane.delay_known and behind_ms > longest_ms:
            notes[camera_id] = (
                f"late: its frames come {behind_ms:.0f} ms after those of the quickest camera, and a set waits for "
                f"{longest_ms:g} ms; set `sync.deadline_ms` in rig.yaml to wait longer"
            )
    if settings.fps and periods_ns and not same_rate(min(periods_ns.values()), 1e9 / settings.fps):
        for camera_id, period_ns in periods_ns.items():
            notes[camera_id] = (
                f"slow or fast: it delivers {1e9 / period_ns:.3g} frames/s, and rig.yaml says `sync.fps: "
                f"{settings.fps:g}`; sets go by what is measured"
            )
    return notes
