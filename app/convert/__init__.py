"""Recorded hands in the files of other programs."""
