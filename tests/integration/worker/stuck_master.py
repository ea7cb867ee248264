"""A master with one worker, for harakiri where C code holds the GIL. Prints what it did, as JSON.

Arguments: the descriptor of a listener, the harakiri limit in seconds.
"""

import json
import os
import select
import socket
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def main() -> None:
    sys.path[:0] = [HERE, os.path.join(HERE, *([os.pardir] * 3))]
    from tests.worker_settings import WorkerSettings
    from vassal import channel, harakiri
    from vassal.net import Listener
    from vassal.scoreboard import Scoreboard
    from vassal.worker import WorkerPlan, run

    limit = float(sys.argv[2])
    listener = socket.socket(fileno=int(sys.argv[1]))
    board = Scoreboard(1, 2)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        ours.close()
        settings = WorkerSettings(module="apps:application", threads=2, harakiri=int(limit))
        os._exit(run(WorkerPlan(1, "stuck", 1, settings, [Listener(listener, "http", "")], theirs, board, None)))
    theirs.close()
    pidfd = os.pidfd_open(pid)
    assert channel.decode(ours.recv(65536)) == channel.Loaded()
    channel.send(ours, channel.Accept())
    end = time.monotonic() + 20
    answered = -1
    while answered < 0 and time.monotonic() < end:
        now = time.monotonic()
        if harakiri.overdue(board, 1, now, limit):
            answered = harakiri.execute(board, 1, pidfd, now, limit)
        else:
            select.select([], [], [], 0.05)
    print(json.dumps({"answered": answered, "status": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}))


if __name__ == "__main__":
    main()
