"""`python -m rlgan VERB ...`."""

import sys

from rlgan.cli import main

sys.exit(main())
