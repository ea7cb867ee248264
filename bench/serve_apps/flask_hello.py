"""Hello from Flask."""

import flask

application = flask.Flask(__name__)


@application.get("/")
def hello():
    return flask.Response("Hello, world!\n", mimetype="text/plain")
