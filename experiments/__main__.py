"""`python -m experiments` is the command `interp`."""

import sys

from experiments.cli import main

sys.exit(main())
