"""``python -m vassal`` is the command ``vassal``."""

from vassal.cli import main

main()
