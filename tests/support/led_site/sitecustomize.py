"""Wires an LED to the serial ports of every process of a run: imported by Python itself where PYTHONPATH names this
folder. The LED is a bright square in LED_PICTURE, a file in the format of a virtual screen, which cameras film."""

import fcntl
import os
import termios

_ioctl = fcntl.ioctl


def _answer(file, request, argument=0, mutate=True):
    if request in (termios.TIOCMBIS, termios.TIOCMBIC) and "LED_PICTURE" in os.environ:
        from tests.support.led_picture import shine

        shine(os.environ["LED_PICTURE"], request == termios.TIOCMBIS)
        return 0
    return _ioctl(file, request, argument, mutate)


fcntl.ioctl = _answer
