"""``python -m emperor`` is the command ``emperor``."""

from emperor.cli import main

main()
