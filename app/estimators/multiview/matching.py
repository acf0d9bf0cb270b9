"""The hands among a frame set's detections, each linked to its track."""

import numpy as np

from app.estimators.multiview.association import assign, choose_hands
from app.estimators.multiview.detection_batch import distances
from app.estimators.multiview.gating import DOUBTFUL, explained, owners_of
from app.estimators.multiview.hand_fit import motion_terms, quick_fit
from app.estimators.multiview.proposals import Proposals, pair_proposals
from app.estimators.multiview.step import Match, Step
from app.estimators.settings import AssociationSettings


def match(step: Step, settings: AssociationSettings) -> list[Match]:
    """The hands of `step.detections`."""
    sure = np.array([track.sure for track in step.tracks], bool)
    owners = owners_of(step.T_cam_world, step.detections, step.predicted_in_view_m, sure, settings)
    rows = explained(owners, step.detections, len(step.tracks), len(step.cameras)) if sure.all() else None
    return match_anew(step, owners == DOUBTFUL, settings) if rows is None else match_tracks(step, rows)


def match_tracks(step: Step, rows: np.ndarray) -> list[Match]:
    """The tracks as hands, of the detections `rows` (T, V) that they explain."""
    links = np.flatnonzero((rows >= 0).any(1))
    rows = rows[links]
    gain, shift = motion_terms([step.predictions[link] for link in links], step.lag_s)
    in_view = step.predicted_in_view_m[links]
    if (rows < 0).any():
        # To look again for what is missing, where the views that have it say it is.
        in_view = quick_fit(step.T_cam_world, step.detections, rows, gain, shift)
    return [
        Match(link=int(link), rows=rows[hand], gain=gain[hand], shift_m=shift[hand], in_view_m=in_view[hand])
        for hand, link in enumerate(links)
    ]


def match_anew(step: Step, doubtful: np.ndarray, settings: AssociationSettings) -> list[Match]:
    """The hands that explain the detections best, of all that tracks and pairs of `doubtful` (D,) ones propose."""
    detections, views = step.detections, len(step.cameras)
    side = np.array([track.right_log_odds for track in step.tracks])
    predicted = step.predicted_in_view_m
    gain, shift = motion_terms([*step.predictions, None], step.lag_s)
    pairs = pair_proposals(step.T_cam_world, detections, gain, shift, doubtful, settings)
    side_of_pairs = np.zeros(len(pairs))
    if len(side) and len(pairs):
        apart = np.linalg.norm((pairs[:, None] - predicted[None]).mean((2, 3)), axis=-1)
        side_of_pairs = (side * np.exp(-((apart / settings.near_m) ** 2))).sum(1)
    proposals = Proposals(np.concatenate([predicted, pairs]), np.concatenate([side, side_of_pairs]), len(side))
    chosen = choose_hands(step.T_cam_world, detections, proposals, step.tracks.limit, settings, step.tracks.settings)
    if not chosen:
        return []
    rights = [hand.right for hand in chosen]
    rows = np.stack([hand.rows for hand in chosen])
    # Matched once more against what the matched views together say, which is nearer than any proposal.
    centres = proposals.in_view_m[[hand.proposal for hand in chosen]].mean((1, 2))
    links = step.tracks.link([motion.position_m for motion in step.predictions], centres, rights, step.now_ns)
    gain, shift = motion_terms([step.predictions[k] if k >= 0 else None for k in links], step.lag_s)
    in_view = quick_fit(step.T_cam_world, detections, rows, gain, shift)
    better = assign(distances(step.T_cam_world, detections, in_view), detections, rights, views, settings)
    matches = [
        Match(
            link=link,
            rows=new if (new >= 0).sum() >= 2 else old,
            gain=gain[hand],
            shift_m=shift[hand],
            in_view_m=in_view[hand],
        )
        for hand, (link, new, old) in enumerate(zip(links, better, rows, strict=True))
    ]
    # The order of the tracks, then of the new hands.
    return sorted(matches, key=lambda match: match.link % (len(step.tracks) + 1))
