"""Runs one worker in this process, as a master would in a forked child. Started by the fixture in conftest.py.

Arguments: the channel's descriptor, then JSON: settings, the listeners' descriptors with their protocols, the path of
the apps, and perhaps ``board``: number, workers, and the descriptor of their scoreboard; ``grace``: what
`vassal.loop.GRACE` is to be. With ``"lazy": false`` the app is loaded before the worker starts, as a master that is not
lazy does.
"""

import json
import os
import socket
import sys


def main() -> None:
    sys.path[:0] = [os.path.join(os.path.dirname(__file__), *([os.pardir] * 3))]
    from tests.worker_settings import WorkerSettings
    from vassal import loader, loop
    from vassal.net import Listener
    from vassal.scoreboard import Scoreboard
    from vassal.worker import WorkerPlan, run

    given = json.loads(sys.argv[2])
    settings = WorkerSettings(
        **{
            key: tuple(map(_tuple, value)) if isinstance(value, list) else value
            for key, value in given["settings"].items()
        }
    )
    sys.path.insert(0, given["apps"])
    listeners = [Listener(socket.socket(fileno=fd), protocol, "test") for fd, protocol in given["listeners"]]
    apps = None if given["lazy"] else loader.load_apps(settings)
    channel = socket.socket(fileno=int(sys.argv[1]))
    loop.GRACE = given.get("grace", loop.GRACE)
    number, workers, memory = given.get("board", (1, 1, -1))
    board = Scoreboard(workers, settings.threads, memory)
    plan = WorkerPlan(number, "test", 1, settings, listeners, channel, board, apps)
    status = run(plan)
    sys.stdout.flush()
    os._exit(status)


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


if __name__ == "__main__":
    main()
