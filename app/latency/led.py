"""An LED that the computer switches: on the RTS or DTR line of a serial port, or one that Linux has a file for."""

import contextlib
import fcntl
import os
import re
import struct
import termios
from abc import ABC, abstractmethod
from pathlib import Path

from calibration.errors import UserError

_LINES = {"rts": termios.TIOCM_RTS, "dtr": termios.TIOCM_DTR}
_KNOWN = (
    "Give a serial port such as /dev/ttyUSB0 (its line RTS, or /dev/ttyUSB0:dtr), or the file of an LED that Linux "
    "knows: /sys/class/leds/NAME/brightness."
)


class Led(ABC):
    """Of an open file."""

    def __init__(self, file: int) -> None:
        self._file = file

    @abstractmethod
    def switch(self, on: bool) -> None:
        """Raises OSError where it cannot be switched any more."""

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.switch(False)
        os.close(self._file)


class SerialLed(Led):
    """`on` raises the line; whether the LED then shines or not depends on the port and the wiring."""

    def __init__(self, file: int, line: str) -> None:
        super().__init__(file)
        self._mask = struct.pack("I", _LINES[line])

    def switch(self, on: bool) -> None:
        fcntl.ioctl(self._file, termios.TIOCMBIS if on else termios.TIOCMBIC, self._mask)


class FileLed(Led):
    """https://docs.kernel.org/leds/leds-class.html"""

    def __init__(self, file: int, brightest: bytes) -> None:
        super().__init__(file)
        self._brightest = brightest

    def switch(self, on: bool) -> None:
        os.pwrite(self._file, self._brightest if on else b"0\n", 0)


def open_led(text: str) -> Led:
    """By what the user gave for `--led`. Raises UserError where it is none, or cannot be switched."""
    path, line = text, "rts"
    named = re.fullmatch(r"(.+):(\w*)", text)
    # Names of LEDs, and of ports by their place, have colons of their own.
    if named and not Path(text).exists():
        path, line = named[1], named[2].lower() or "rts"
    if line not in _LINES:
        raise UserError(f"`--led {text}`: a serial port has the lines rts and dtr, not `{line}`. {_KNOWN}")
    if not Path(path).exists():
        raise UserError(f"`--led {text}`: there is no {path}. {_KNOWN}")
    try:
        file = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise UserError(
            f"`--led {text}`: {path} cannot be opened ({error.strerror}). Join the group `dialout` for a serial port; "
            "the file of an LED must be writable."
        ) from None
    if not os.isatty(file) and Path(path).name != "brightness":
        os.close(file)
        raise UserError(f"`--led {text}`: {path} is neither a serial port nor an LED. {_KNOWN}")
    led = SerialLed(file, line) if os.isatty(file) else FileLed(file, _brightest(Path(path)))
    try:
        led.switch(False)
    except OSError as error:
        led.close()
        raise UserError(f"`--led {text}`: {path} cannot be switched ({error.strerror}). {_KNOWN}") from None
    return led


def _brightest(path: Path) -> bytes:
    try:
        return path.with_name("max_brightness").read_bytes()
    except OSError:
        return b"1\n"
