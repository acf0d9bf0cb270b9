"""What may become of a file on its way: damage by chance, and texts that are written to do harm."""

import random
import re
from collections.abc import Callable

_NUMBER = re.compile(rb"-?\d+\.?\d*(?:[eE][-+]?\d+)?")
_NUMBERS = (
    b"0 -1 1e999 -1e308 1e-320 nan .nan .inf null true [] {} 4294967296 9223372036854775808 0x7fffffffffffffff 1:59:59 "
    b"~ 2026-13-45 00 1_0 \xff \x00 [[1]] - "
).split(b" ") + [b'"x"', b"9" * 30, b"9" * 5000]
_VALUE = re.compile(rb"\"[^\"\n]*\"|'[^'\n]*'|\b[A-Za-z_]\w*\b")
_VALUES = [*_NUMBERS, b"inf", b"1979-05-27T07:32:00Z", b'"\\ud800"', b'"\\u0000"', b'"../../x"', b"&a", b"*a"]
_VALUES += [b"!!%s abc" % tag for tag in (b"bool", b"timestamp", b"int", b"float", b"null", b"str", b"seq", b"set")]

_LINE = re.compile(rb"[^\n]*\n?")
_WORDS = tuple(
    value.to_bytes(size, order)
    for size in (2, 4, 8)
    for order in ("big", "little")
    for value in (0, 2 ** (8 * size) - 1, 2 ** (8 * size - 1), 2 ** (8 * size - 1) - 1, 2 ** (7 * size), 65_500)
)
_HOSTILE = (
    b"[" * 20_000,
    b"{" * 20_000,
    b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    b"<a>" * 5_000,
    b"- " * 3_000 + b"1",
    b"? " * 3_000,
    b"a: &a [x, x, x, x, x, x, x, x, x]\n"
    + b"".join(b"%c: &%c [%s]\n" % (n, n, b", ".join([b"*%c" % (n - 1)] * 9)) for n in range(98, 108)),
    b"a: &a {x: 1}\n"
    + b"".join(b"%c: &%c {<<: [%s]}\n" % (n, n, b", ".join([b"*%c" % (n - 1)] * 9)) for n in range(98, 110)),
    b"a: &a [*a]\n",
    b"a: " + b"1:59" * 2_000 + b"\n",
    b"!!python/object/apply:os.system [true]\n",
    b"a: !!binary " + b"A" * 10_000 + b"\n",
    b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b '&b;&b;'>]><opencv_storage><a>&b;</a></opencv_storage>",
)


def mutate(content: bytes, random: random.Random) -> bytes:
    """A worse copy: one to three mutations."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        content = random.choice(_MUTATIONS)(content, random)
    return content


def _flip(content: bytes, random: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(random.choice((1, 4, 32))):
        if changed:
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _cut(content: bytes, random: random.Random) -> bytes:
    return content[: random.randrange(len(content) + 1)]


def _remove(content: bytes, random: random.Random) -> bytes:
    start = random.randrange(len(content) + 1)
    return content[:start] + content[start + random.choice((1, 2, 16, 300)) :]


def _insert(content: bytes, random: random.Random) -> bytes:
    start = random.randrange(len(content) + 1)
    return content[:start] + random.randbytes(random.choice((1, 4, 40))) + content[start:]


def _splice(content: bytes, random: random.Random) -> bytes:
    start, source = random.randrange(len(content) + 1), random.randrange(len(content) + 1)
    return content[:start] + content[source : source + random.choice((8, 64, 1000))] + content[start:]


def _number(content: bytes, random: random.Random) -> bytes:
    return _replace(content, _NUMBER, _NUMBERS, random)


def _value(content: bytes, random: random.Random) -> bytes:
    return _replace(content, _VALUE, _VALUES, random)


def _replace(content: bytes, what: re.Pattern[bytes], values: list[bytes], random: random.Random) -> bytes:
    places = list(what.finditer(content))
    if not places:
        return content
    chosen = random.sample(places, min(len(places), random.choice((1, 1, 3))))
    for place in sorted(chosen, key=lambda each: -each.start()):
        content = content[: place.start()] + random.choice(values) + content[place.end() :]
    return content


def _lines(content: bytes, random: random.Random) -> bytes:
    lines = _LINE.findall(content)
    index = random.randrange(len(lines))
    what = random.randrange(4)
    if what == 0:
        del lines[index]
    elif what == 1:
        lines.insert(index, lines[random.randrange(len(lines))])
    elif what == 2:
        random.shuffle(lines)
    else:
        lines[index] = b"  " + lines[index]
    return b"".join(lines)


def _encode(content: bytes, random: random.Random) -> bytes:
    text = content.decode("latin-1")
    return text.encode(random.choice(("utf-16", "utf-8-sig", "utf-32")))


def _word(content: bytes, random: random.Random) -> bytes:
    """A number of a binary header becomes one that no file has."""
    if len(content) < 8:
        return content
    # Headers lie at the beginning or, of MP4 files and archives, at the end.
    start = random.choice((0, max(0, len(content) - 2000)))
    at = min(start + random.randrange(2000), len(content) - 8)
    word = random.choice(_WORDS)
    return content[:at] + word + content[at + len(word) :]


def _hostile(content: bytes, random: random.Random) -> bytes:
    harm = random.choice(_HOSTILE)
    return random.choice((harm, content + b"\n" + harm, content.replace(b": ", b": " + harm + b"\n", 1)))


_MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _flip, _word, _cut, _remove, _insert, _splice, _number, _number, _number, _value, _value, _lines, _lines, _encode,
    _hostile,
)  # fmt: skip
