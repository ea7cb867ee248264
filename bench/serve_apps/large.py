"""A response of 1 MB, in one piece."""

BODY = b"0123456789abcdef" * 65536


def application(_environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(len(BODY)))])
    return [BODY]
