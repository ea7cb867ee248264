"""A progress bar on a terminal; elsewhere one line for each thing that begins, so that a log stays readable."""

import sys
import time


class Progress:
    """Counts steps. `total` is how many there will be."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._began = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._stage = ""

    def stage(self, text: str) -> None:
        """Say what is being done now."""
        self._stage = text
        if self._terminal:
            self._draw()
        else:
            print(f"{time.monotonic() - self._began:6.0f} s  {text}", file=sys.stderr, flush=True)

    def step(self) -> None:
        """One more is done."""
        self._done += 1
        if self._terminal:
            self._draw()

    def close(self) -> None:
        """Remove the bar."""
        if self._terminal:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()

    def _draw(self) -> None:
        share = self._done / max(self._total, 1)
        took = time.monotonic() - self._began
        left = f", {took / share - took:.0f} s left" if share > 0.02 else ""
        bar = "#" * round(30 * share)
        sys.stderr.write(f"\r\033[K[{bar:-<30}] {self._done}/{self._total}{left}: {self._stage}")
        sys.stderr.flush()
