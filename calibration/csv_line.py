"""A line of a table that is appended to: each is read by itself, so that one that is damaged spoils none after it."""

import csv


def csv_fields(line: str) -> list[str]:
    """The fields, without the quotes that one with a comma has; none where the line is no CSV."""
    try:
        return next(csv.reader([line.replace("\0", "\ufffd")]), [])
    except csv.Error:
        return []
