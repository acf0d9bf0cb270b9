"""The thresholds of body tracking, each with its unit and where it comes from."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BodySettings:
    """How often bodies are looked for, and when an arm is a hand's."""

    period_s: float = 0.1
    """Between looks at the bodies: elbows move less than hands, and the pose network costs more than the hand's."""
    search_s: float = 1.0
    """Between searches of the whole image for people, in a view that has some; one that has none is searched at every
    look."""
    most_bodies: int = 4
    """In one image: twice the people that eight hands are of at least."""
    least_presence: float = 0.5
    """Of the landmark network, as in MediaPipe's graph: below, a crop has nobody in it."""
    least_visibility: float = 0.5
    """A point that is seen less surely is not used: it is where the network supposes it behind something."""
    same_body: float = 0.25
    """Crops whose middles are nearer than this share of their side are of one person."""
    reach: float = 0.1
    """A hand's wrist and its arm's are no farther apart in an image, as a share of the body's crop: on real footage the
    wrists of one arm are within 0.06."""
    point_error: float = 0.014
    """An elbow's or shoulder's error along each axis, as a share of the body's crop: on real footage, views that did
    not take part find them 0.014 to 0.042 (median 0.019) from where the others say."""
    lasting: float = 4.0
    """The network's errors last, so that n looks say as little as n / `lasting` independent ones: it sees the elbow's
    skin, on another side of the joint from each view."""
    forearm_m: tuple[float, float] = (0.25, 0.05)
    """Mean and deviation over people, children among them: 0.146 of the stature (D. A. Winter, "Biomechanics and Motor
    Control of Human Movement", 4th ed. 2009, fig. 4.1), wide for what the network calls an elbow."""
    upper_arm_m: tuple[float, float] = (0.31, 0.06)
    """Likewise, 0.186 of the stature."""
    length_sd_m: float = 0.015
    """By so much a learnt length stays uncertain: the network's elbow moves as the arm bends."""
    learnt_sd_m: float = 0.035
    """A length is learnt where its ends are at least so certain."""
    most_lengths: int = 100
    """From which a length is learnt: the last ten seconds of looks."""
    doubt_stds: float = 3.0
    """An elbow whose forearm is farther off its length than this is none: it is hidden, and supposed somewhere."""
    same_person_s: float = 30.0
    """Lengths that no forearm fitted for so long may be another person's, as a hand's bones."""
    acceleration_psd: float = 0.5
    """m2/s3, of the elbow's white acceleration: as a hand's."""
    start_speed_sd_m_s: float = 0.5
    """Of an elbow that was just found: an unhurried gesture."""
    largest_sd_m: float = 0.06
    """An elbow or shoulder that is less certain than this, a fifth of a forearm, is not said."""
    forget_s: float = 1.0
    """An arm that was not seen for so long is forgotten."""
    evidence_per_view: float = 0.5
    """Log-odds, that an arm is the right one, of each view that says so: views err together."""
    evidence_limit: float = 6.0
    """The most log-odds that an arm collects, so that a wrong belief is turned in a second."""


BODY = BodySettings()
