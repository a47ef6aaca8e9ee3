"""Run the emulator for programs whose environments have none: tell its address, wait for EOF."""

import sys

from wavespeed_async.emulator import Emulator

with Emulator(latency=0.05) as emulator:
    sys.stdout.write(f"{emulator.url}\n")
    sys.stdout.flush()
    sys.stdin.read()
