"""The app beside static files: whatever comes to it was not served as a file."""

import time
from urllib.parse import unquote


def application(environ, start_response):
    if environ["PATH_INFO"] == "/sleep":
        time.sleep(float(unquote(environ["QUERY_STRING"])))
    start_response("404 Not Found", [("X-App", "yes"), ("Content-Length", "3")])
    return [b"app"]
