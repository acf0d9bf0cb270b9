"""`python -m app` is `usthand`."""

import sys

from app.cli import main

sys.exit(main())
