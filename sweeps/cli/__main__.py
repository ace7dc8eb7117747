"""`python -m sweeps.cli`: the same as `sweeps`."""

from sweeps.cli import main

main()
