"""`usthand` with a supervisor that waits 4 s for a process that stands still, not 30."""

import functools
import sys

from app.cli import main
from app.run import supervisor

if __name__ == "__main__":
    supervisor.Patience = functools.partial(supervisor.Patience, hung_s=4.0)  # pyright: ignore[reportAttributeAccessIssue]
    sys.exit(main())
