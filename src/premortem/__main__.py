"""`python -m premortem`."""

from premortem.cli import main

main()
