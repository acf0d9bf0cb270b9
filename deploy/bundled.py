"""Libraries of others that Python packages bring along in `PACKAGE.libs`, with their licences.

Their wheels do not say: the licences are those that the libraries' own projects give, and of PyAV's FFmpeg what it says
of itself (`av._core.library_meta`).
"""

import re
from importlib.metadata import Distribution
from typing import NamedTuple

_FILE = re.compile(r"\.libs/(lib[^/]+?)(?:-[0-9a-f]{8})*(?:\.[\d.]+)?\.so((?:\.\d+)*)$")
_GCC = "GPL-3.0-or-later WITH GCC-exception-3.1"
# Of PACKAGE/LIBRARY, the first that matches it whole.
_LICENCES = (
    (r".*/libx26[45]", "GPL-2.0-or-later"),
    (r"av/lib(av(codec|device|filter|format|util)|sw\w+)", "LGPL-3.0-or-later"),
    (r".*/lib(av(codec|device|filter|format|util)|sw\w+|asound|quadmath|gnutls)", "LGPL-2.1-or-later"),
    (r".*/libmp3lame", "LGPL-2.0-or-later"),
    (r".*/lib(gmp|hogweed|nettle|unistring)", "LGPL-3.0-or-later OR GPL-2.0-or-later"),
    (r".*/libQt5\w+", "LGPL-3.0-only"),
    (r".*/libgfortran", _GCC),
    (r".*/lib(Xau|X11-xcb|xcb[\w-]*|xkbcommon[\w-]*|drm|vpl|brotli\w+|harfbuzz|lcms2|ezc3d)", "MIT"),
    (r".*/lib(dav1d|avif|openjp2|aec|sz)", "BSD-2-Clause"),
    (r".*/lib(SvtAv1Enc)", "BSD-3-Clause-Clear"),
    (r".*/lib(opus|sharpyuv|webp\w*|vpx|hdf5\w*|zstd|\w*openblas[\w-]*)", "BSD-3-Clause"),
    (r".*/lib(opencore-amr\w+|tbb)", "Apache-2.0"),
    (r".*/libusd_ms", "LicenseRef-TOST-1.0"),
    (r".*/lib(crypto|ssl)", "OpenSSL"),
    (r".*/libpng16", "libpng-2.0"),
    (r".*/libtiff", "libtiff"),
    (r".*/libjpeg", "IJG AND BSD-3-Clause AND Zlib"),
    (r".*/libfreetype", "FTL OR GPL-2.0-only"),
    (r".*/liblzma", "0BSD"),
    (r".*/libsodium", "ISC"),
    (r".*/libzmq", "MPL-2.0"),
)


class Bundled(NamedTuple):
    """`version` is that of the file's binary interface, empty where its name has none."""

    name: str
    version: str
    licence: str


def bundled_libraries(package: Distribution) -> list[Bundled]:
    """Each once, by name."""
    found: dict[str, Bundled] = {}
    for file in package.files or ():
        if match := _FILE.search(file.as_posix()):
            name, version = match[1], match[2].lstrip(".")
            found[name] = Bundled(name, version, _licence(f"{package.metadata['Name'].lower()}/{name}"))
    return [found[name] for name in sorted(found)]


def _licence(name: str) -> str:
    return next((licence for pattern, licence in _LICENCES if re.fullmatch(pattern, name)), "not told")
