"""How long every start of a vassal pays for its configuration: the parse of a 100-line file, and the import.

The import is paid once, in the fork server; the parse in every generation, each a fresh fork of it. The one thing that
can go wrong here is to measure only a warm process: the first parse in a fork is measured beside it, with the page
faults that it costs.

Run: ``python bench/parse.py [ROUNDS]``. Prints medians and 95th percentiles in milliseconds.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TARGET_MS = 2.0
"""What a 100-line file may take at the median."""

HEAD = """\
[uwsgi]
; one shop, as people write such files
name = shop
base = /srv/%(name)
chdir = %(base)/current
module = shop.wsgi:application
virtualenv = %(base)/venv
master = true
processes = %(%k * 2)
threads = 4
http-socket = 127.0.0.1:8000
socket = /run/%n.sock
chmod-socket = 660
chown-socket = www-data:www-data
vacuum = true
die-on-term = true
harakiri = 60  ; seconds
max-requests = 5000
max-worker-lifetime = 3600
reload-on-rss = 512
buffer-size = 65535
need-app
lazy-apps
enable-threads = true
thunder-lock = true
plugins = python3
logto = /var/log/%n.log
log-date = %%Y-%%m-%%d
logformat = %(addr) - "%(method) %(uri)" %(status) %(size) %(msecs)
touch-reload = %p
if-env = HOME
env = SHOP_HOME=%(_)
endif =
for = css js img
static-map = /%(_)=%(base)/static/%(_)
endfor =
cron2 = minute=-5 %(base)/bin/refresh
attach-daemon = celery -A shop worker -n shop@%%h
add-header = X-Frame-Options: DENY
"""


def sample() -> str:
    """Return the text of a file with 100 lines: one of each kind above, and environment lines to fill it up."""
    lines = HEAD.splitlines()
    lines += [f"env = SHOP_SETTING_{number}=$(HOME)/value-{number}" for number in range(100 - len(lines))]
    return "\n".join(lines) + "\n"


def parse_times(path: str, rounds: int) -> list[float]:
    """Return the milliseconds of `rounds` loads of `path`, one after another in this process."""
    from vassal.config import load_vassal

    environ = dict(os.environ)
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        load_vassal(path, environ=environ)
        times.append((time.perf_counter() - start) * 1000)
    return times


def first_times(path: str, rounds: int) -> list[float]:
    """Return the milliseconds of the first load of `path` in each of `rounds` forks: with their page faults."""
    times = []
    for _ in range(rounds):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writing, repr(parse_times(path, 1)[0]).encode())
            os._exit(0)
        os.close(writing)
        with open(reading, "rb") as answer:
            times.append(float(answer.read()))
        os.waitpid(child, 0)
    return times


def import_time() -> float:
    """Return the milliseconds that ``import vassal.config`` takes in a fresh interpreter."""
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); start = time.perf_counter(); "
        "import vassal.config; print((time.perf_counter() - start) * 1000)"
    )
    return float(subprocess.check_output([sys.executable, "-I", "-c", code, ROOT]))


def main() -> int:
    """Measure, print, and return 1 where the median misses the target."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    sys.path.insert(0, ROOT)
    import gc

    import vassal.config  # noqa: F401 - the fork server has it too

    gc.freeze()
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "shop.ini")
        with open(path, "w", encoding="utf-8") as file:
            file.write(sample())
        first = first_times(path, rounds)
        steady = parse_times(path, rounds)
    for what, times in (("a 100-line file", steady), ("the same, first in a fresh fork", first)):
        late = sorted(times)[int(len(times) * 0.95)]
        print(f"{what}: median {statistics.median(times):.2f} ms, 95 % below {late:.2f} ms ({rounds} rounds)")
    print(f"import of vassal.config: {min(import_time() for _ in range(5)):.1f} ms, once in the fork server")
    return 0 if statistics.median(steady) < TARGET_MS else 1


if __name__ == "__main__":
    raise SystemExit(main())
