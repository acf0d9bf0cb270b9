"""The viewer's keys: the one table that the window obeys, the list of `h` shows and docs/viewer.md repeats."""

from typing import Literal, NamedTuple

Use = Literal["always", "takes", "without takes", "live", "replay"]


class Key(NamedTuple):
    """`chord` as a person reads it; `action` is what the window does, a field of Toggles or a name it knows; `use` is
    where the key has this meaning."""

    chord: str
    action: str
    meaning: str
    use: Use = "always"


KEYS = (
    Key("h ?", "help", "this list"),
    Key("space", "pause", "hold the view; the worker goes on", "live"),
    Key("space", "play", "play and pause the recording", "replay"),
    Key("left right", "step", "one set back or on", "replay"),
    Key("shift left right", "second", "one second back or on", "replay"),
    Key("home end", "ends", "the first set, the newest set", "replay"),
    Key("[ ]", "speed", "slower, faster", "replay"),
    Key("o", "loop", "play what was seen over and over", "replay"),
    Key("r", "reset", "the first view again", "without takes"),
    Key("r", "take", "begin and end a take", "takes"),
    Key("k", "mark", "mark the take", "takes"),
    Key("1 to 9", "place", "the view saved there, or that camera"),
    Key("shift 1 to 9", "save", "save this view there"),
    Key("ctrl 1 to 8", "through", "look through that camera"),
    Key("ctrl shift 1 to 8", "through more", "through cameras 9 to 16"),
    Key("0", "reset", "back to the free view"),
    Key("g", "follow", "go along with the hands"),
    Key("m", "mesh", "hand mesh"),
    Key("s", "skeleton", "skeleton"),
    Key("t", "trail", "trail of the last five sets"),
    Key("u", "uncertainty", "mesh by uncertainty, not skin"),
    Key("e", "ellipsoids", "ellipsoids of uncertainty (95 %)"),
    Key("c", "cloud", "cloud of uncertainty"),
    Key("f", "frusta", "camera frusta"),
    Key("i", "images", "images"),
    Key("b", "latency", "latency by stage"),
    Key("l", "theme", "light or dark"),
    Key("q esc", "quit", "quit everything"),
)
MOUSE = (
    ("drag", "turn"),
    ("ctrl drag", "move"),
    ("shift drag", "roll"),
    ("wheel", "nearer, farther"),
    ("click two joints", "their distance; beside them: no distance"),
)

SHIFT, CTRL = 1, 2
_MODIFIERS = {"shift": SHIFT, "ctrl": CTRL}
_CODES = {"space": 32, "esc": 256, "right": 262, "left": 263, "home": 268, "end": 269, "?": ord("/")}


def keys_in(use: set[str]) -> list[Key]:
    """The keys that have a meaning in such a use."""
    return [key for key in KEYS if key.use == "always" or key.use in use]


def codes_of(key: Key) -> tuple[int, list[int]]:
    """The modifiers (the sum of SHIFT and CTRL, or 0) and GLFW's codes of a key, in the order of its chord."""
    words, modifier = key.chord.split(), 0
    while words[0] in _MODIFIERS:
        modifier |= _MODIFIERS[words.pop(0)]
    if words[1:2] == ["to"]:
        return modifier, list(range(ord(words[0]), ord(words[2]) + 1))
    return modifier, [_CODES.get(word, ord(word[0].upper())) for word in words]
