"""A task's command, started so that it ends with the worker that started it, and stays on the worker's cores.

python -P -m app.batch.child PARENT CORES PROGRAM WORD...
"""

import os
import sys

from calibration.programs import end_with_parent


def main() -> None:
    parent, cores, program, *words = sys.argv[1:]
    if cores != "-":
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    if not end_with_parent(int(parent)):
        sys.exit(1)
    os.execv(sys.executable, [sys.executable, "-P", "-m", program, *words])


if __name__ == "__main__":
    main()
