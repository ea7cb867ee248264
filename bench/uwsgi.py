"""uWSGI's emperor for comparison: its own environment with a fixed version, and the command that starts it.

The one thing that can go wrong here is an unequal comparison: its environment is made with the interpreter that runs
this benchmark, and it is started with its defaults.
"""

import subprocess
import sys
from pathlib import Path

VERSION = "2.0.31"
ENVIRONMENT = Path(__file__).resolve().parent / ".env-uwsgi"
PROGRAM = ENVIRONMENT / "bin" / "uwsgi"


def installed() -> bool:
    """Whether it is there, runs, and has the right version."""
    try:
        done = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return done.stdout.strip() == VERSION


def install() -> None:
    """Make the environment where it is missing. Takes a minute: uWSGI is compiled.

    Raises:
        SystemExit: it cannot be installed; says what is needed.
    """
    if installed():
        return
    print(f"Installing uWSGI {VERSION} into {ENVIRONMENT}", file=sys.stderr)
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", ENVIRONMENT], check=True)
        pip = [ENVIRONMENT / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", f"uwsgi=={VERSION}"], check=True)
    except subprocess.CalledProcessError as error:
        raise SystemExit(
            f"uWSGI {VERSION} cannot be installed (exit {error.returncode}); it needs a C compiler and Python's "
            "headers: apt install build-essential python3-dev. To measure Emperor alone: --without-uwsgi"
        ) from None
    if not installed():
        raise SystemExit(f"{PROGRAM} does not run, or is not {VERSION}: remove {ENVIRONMENT} and try again")


def emperor_command(place: Path) -> list[str]:
    """The command for its emperor on one directory."""
    return [str(PROGRAM), "--emperor", str(place)]
