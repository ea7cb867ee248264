"""Reads a JSON body and answers with one."""

import json


def application(environ, start_response):
    sent = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
    body = json.dumps({"sum": sum(sent["numbers"]), "name": sent["name"]}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
