"""The smallest WSGI app: what is measured with it is the server alone."""

BODY = b"Hello, world!\n"


def application(_environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "14")])
    return [BODY]
