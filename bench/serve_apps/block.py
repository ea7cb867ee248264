"""``/quick`` answers at once; every other path after 10 ms, in which the thread holds no lock (a database, say)."""

import time

HEADERS = [("Content-Type", "text/plain"), ("Content-Length", "3")]


def application(environ, start_response):
    if environ["PATH_INFO"] != "/quick":
        time.sleep(0.01)
    start_response("200 OK", HEADERS)
    return [b"ok\n"]
