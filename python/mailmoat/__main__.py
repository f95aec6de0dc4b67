"""`python -m mailmoat`: the command line."""

from mailmoat.cli import main

main()
