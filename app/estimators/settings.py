"""The thresholds of the estimators, each with its unit and what it bounds or where it comes from."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TrackerSettings:
    """How hands are followed from set to set."""

    acceleration_psd: float = 0.5
    """m2/s3, of the joints' white acceleration: how soon the motion filter forgets a speed."""
    start_speed_sd_m_s: float = 0.5
    """Of a joint whose hand was just found, along each axis: an unhurried gesture."""
    coast_s: float = 0.5
    """For so long a joint that is not seen goes on at its speed."""
    measured_sd_m: float = 0.004
    """The least error that a joint's measurement is believed to have: that of a good triangulation."""
    sure_sd_m: float = 0.02
    """A track is sure while its joints' median error is smaller: a quarter of a palm, so no other hand fits."""
    max_speed_m_s: float = 3.0
    """No hand is faster: the peak of a quick reach."""
    reach_m: float = 0.1
    """How far from where it is expected a hand may be, besides: half a hand."""
    m_per_log_odds: float = 0.02
    """A hand of the other side links to a track only where that is nearer by so much for each unit of evidence."""
    same_hand_m: float = 0.04
    """Hands whose middles are nearer are one: two hands lie at least a hand's thickness apart."""
    keep_s: float = 0.6
    """A hand not seen for so long, though it was looked for, is lost: at 3 m/s it may be anywhere by then."""
    forget_s: float = 5.0
    """One that nobody looked for, in sets that are rare or of one view, is lost after so long."""
    same_person_s: float = 30.0
    """A hand that comes back after so long may be another person's."""
    misses_to_lose: float = math.inf
    """Sets in a row without the hand, after which it is lost,"""
    lose_after_s: float = 0.12
    """but not sooner: at 120 frames/s four sets are a thirtieth of a second, in which a finger passes before a hand."""
    evidence_per_view: float = 0.5
    """What one view's log-odds of presence or side count: views of one hand err together."""
    evidence_limit_per_view: float = 3.0
    """The most log-odds that a view gives, a probability of 0.95: detectors are surer than they are right."""
    same_side_log_odds: float = 16.0
    """What a second hand of a side has to have as evidence besides, and a fourth again: people have one of each."""
    evidence_limit: float = 12.0
    """The most log-odds that a track collects, so that a wrong belief is turned in a few sets."""


@dataclass(frozen=True, kw_only=True)
class AssociationSettings:
    """Which detections of several views are one hand. A distance is a share of the hand's size in the image."""

    gate: float = 0.8
    """A detection farther than this from a hand's projection is not of it: nearly a hand beside it."""
    surely: float = 0.3
    """One nearer to a track, and to that one alone, is of it without further search."""
    palm_m: tuple[float, float] = (0.04, 0.16)
    """From wrist to middle knuckle, from a small child's hand to more than the largest adult's."""
    hand_cost: float = 0.7
    """What the views' support, up to 1 each, has to exceed in sum for a hand to be there."""
    side_cost: float = 0.35
    """Support that a view loses whose detection is surely of the other side."""
    track_cost: float = 0.06
    """Support that a track's evidence of its side is worth, for each unit of log-odds."""
    most_track: float = 6.0
    """Log-odds of a track that count: what a set's views say can outweigh them."""
    same_side_cost: float = 0.7
    """Support that a second hand of a side has to exceed besides, and a fourth again: people have one of each."""
    followed_gain: float = 1.5
    """Support that a hand that is followed has before one that is not, where there are too many: a view and a half."""
    beam: int = 12
    """Sets of hands that are pursued: bounds the time of a search among many hands."""
    near_m: float = 0.08
    """A pair of detections so near a track is likely its hand and takes over its evidence: a palm's width."""


@dataclass(frozen=True, kw_only=True)
class FinderSettings:
    """How hands that nobody follows are looked for, for the network of this project."""

    period_s: float = 0.15
    """Between searches while a hand is followed: they cost as much as following does."""
    lost_for_s: float = 2.0
    """For so long the place where a hand was lost is looked at first."""
    found_sd_m: float = 0.01
    """Error of the joints that a finder gives."""
    missed_for_s: float = 0.14
    """A hand that was not where it was looked for is the finder's after so long: four frames of a usual camera."""
    vague_sd_m: float = 0.012
    """A hand whose place is less certain than this, a tenth of a crop, is looked for once more in the same set."""
    step_m: float = 0.09
    """Between places of the volume: half a crop, so that a hand is whole in one of them."""
    half_width_m: float = 0.13
    """Of the crop at a place: a hand's, and a step's half to either side."""
    at_once: int = 6
    """Crops in one set, left and right: bounds how much longer a set takes while hands are searched for."""
    agreement: float = 0.05
    """How far views may disagree, as a share of the crop, for a hand to be there: a finger's width."""
    bones_sum_m: tuple[float, float] = (0.5, 1.4)
    """Of all bones: a mean adult's is 0.8."""
    reach_m: float = 0.6
    """From the volume's middle: an arm's."""
    likely_distance_m: float = 0.7
    """In front of the cameras, where their axes do not say how far the middle is."""
    trust_of_distance: float = 0.1
    """How much that counts beside one axis."""


@dataclass(frozen=True, kw_only=True)
class ViewChoiceSettings:
    """In which views a hand is looked at, where more cameras see it than the network takes."""

    enough_px: float = 0.5
    """Pixels of the picture for each of the crop: a larger picture of the hand hardly says more."""
    least_trust: float = 0.05
    """Of a view that did not show the hand: it is taken where there is no other."""
    forgets: float = 0.03
    """Of what was not seen, in each set: a view behind something is tried again about once a second."""


@dataclass(frozen=True, kw_only=True)
class JudgeSettings:
    """When what the network makes of a hand's crops is no hand."""

    least_presence: float = 0.5
    """Mean probability, in the two views that are surest, that a hand is in the crop."""
    least_presence_of_view: float = 0.25
    """A view that says less of it does not count, nor its keypoints."""
    disagreement: float = 0.12
    """Median distance of keypoints from the joints' projections, as a share of the crop; beyond is no hand."""
    same_picture: float = 0.15
    """Median distance of a hand's keypoints in a view from where another's joints are to be seen, as a share of that
    one's extent there; nearer, the network read one hand for both."""
    view_agrees: float = 0.04
    """Median distance in one view, as above, up to which it sees the hand where the others do: on rendered hands nine
    of ten views of sound cameras, and hardly any of one whose picture stands still."""
    view_elsewhere: float = 0.07
    """One farther off than this, and `view_ratio` times as far as the others, sees it elsewhere: a frozen or late one,
    or one in which the network errs."""
    view_ratio: float = 2.2
    first_wait: int = 4
    """Sets after which a view that saw a hand elsewhere is looked at again; twice as many each time that it still does.
    A look costs as much as following the hand does."""
    longest_wait: int = 8
    span_m: tuple[float, float] = (0.025, 0.26)
    """Of the joints from their middle, from a fist of a child's to more than the largest hand."""
    longest_bone_m: float = 0.13
    """The longest, from the wrist to the middle knuckle, is 0.09 in a mean adult."""
    unsure_sd_m: float = 0.01
    """Of the joints' mean stated error: from there on the hand's bones may correct joints that lie too far apart."""
    certain_sd_m: float = 0.03
    """Of a joint whose confidence is halved."""

    def alike_px(self, crop_px: int) -> float:
        """Deviation of keypoints that all count alike, where views are asked what they agree on."""
        return crop_px * self.view_agrees / 2
