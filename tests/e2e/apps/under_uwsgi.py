"""An app that uses what uWSGI offers to apps: its module, and its decorators."""

import os

import uwsgi
from uwsgidecorators import postfork

seen = {}


@postfork
def connect():
    seen["connected"] = os.getpid()


@postfork(1)
def first():
    seen["first"] = True


def leave():
    with open(os.environ["LEFT"], "a", encoding="ascii") as file:
        file.write(f"{uwsgi.worker_id()}\n")


uwsgi.atexit = leave


def application(environ, start_response):
    if environ["PATH_INFO"] == "/reload":
        uwsgi.reload()
    uwsgi.lock()
    uwsgi.unlock()
    own = seen["connected"] == os.getpid()
    told = (uwsgi.worker_id(), uwsgi.masterpid(), own, "first" in seen, uwsgi.opt["module"].decode(), uwsgi.numproc)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [" ".join(map(str, told)).encode()]
