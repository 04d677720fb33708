"""``python -m probes`` is the command ``probes``."""

import sys

from probes.cli import main

if __name__ == "__main__":
    sys.exit(main())
