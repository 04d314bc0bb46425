"""`python -m experiments` is the command `interp`."""

import sys

from experiments.command.main import main

sys.exit(main())
