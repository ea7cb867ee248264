"""A WSGI app that says which process answers: the title is the one that `ps` shows."""

import os
import time
from html import escape

STARTED = time.strftime("%H:%M:%S")

PAGE = """<!doctype html>
<meta charset="utf-8">
<title>hello</title>
<body style="font: 1.1em/1.6 system-ui, sans-serif; max-width: 36em; margin: 4em auto; color: #222">
<h1>Hello from a vassal</h1>
<p><code>{title}</code>, process {pid}, code loaded at {started}.</p>
<p>Touch this vassal's file and load the page again: the generation grows, and no request was lost.</p>
"""


def title():
    """The title that the emperor gave this process, as in ``vassal hello gen 3 worker 1``."""
    with open("/proc/self/cmdline", "rb") as file:
        return file.read().replace(b"\0", b" ").decode(errors="replace").strip()


def application(environ, start_response):
    body = PAGE.format(title=escape(title()), pid=os.getpid(), started=STARTED).encode()
    headers = [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]
