"""``python -m keeptrusts_runners.runner``: the runner without Django."""

import sys

from keeptrusts_runners.runner.cli import main

sys.exit(main())
