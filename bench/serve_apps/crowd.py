"""Hello, and 1 MB for those who read it slowly."""

LARGE = b"0123456789abcdef" * 65536


def application(environ, start_response):
    body = LARGE if environ["PATH_INFO"] == "/large" else b"Hello, world!\n"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
