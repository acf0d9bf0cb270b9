"""Where a hand will be: a small network learnt from simulated motion."""
