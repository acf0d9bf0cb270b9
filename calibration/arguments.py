"""The arguments of a program that another one starts."""

import argparse
from collections.abc import Iterable


def words(args: argparse.Namespace, options: Iterable[str]) -> list[str]:
    """These options of parsed arguments as they are typed; without those not given, and switches that are off."""
    said = []
    for name in options:
        value = getattr(args, name)
        if value is None or value is False:
            continue
        values = [] if value is True else value if isinstance(value, list) else [value]
        said += [f"--{name.replace('_', '-')}", *map(str, values)]
    return said
