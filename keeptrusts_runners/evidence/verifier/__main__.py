"""``python -m keeptrusts_runners.evidence.verifier BUNDLE``: what the single file does."""

import sys

from keeptrusts_runners.evidence.verifier.cli import main

sys.exit(main())
