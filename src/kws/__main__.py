"""`python -m kws`: the `kws` command."""

import sys

from kws.spotting.cli import main

if __name__ == "__main__":
    sys.exit(main())
