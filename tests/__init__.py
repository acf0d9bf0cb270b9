"""The tests.

Set before NumPy is loaded: on a busy machine OpenBLAS's threads wait for one another by spinning (a test of 17 seconds
took minutes beside fifteen processes), and a test's arrays are too small to gain from them.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
