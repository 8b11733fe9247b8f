"""Let `python -m curate` be the command line."""

from curate.cli import main

main()
