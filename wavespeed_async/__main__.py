"""`python -m wavespeed_async`: the command line under another name."""

import sys

from wavespeed_async.cli import main

if __name__ == "__main__":
    sys.exit(main())
