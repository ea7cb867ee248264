"""Vassal files with the inspecting app (apps/inspector.py), and questions to it.

The danger here: an answer of an app that failed taken for one of an app that was refused; so only a 200 is an answer.
"""

import json
import urllib.parse
from pathlib import Path

from tests.clients import Address, http_get

APPS = Path(__file__).resolve().parent / "apps"


def ask(address: Address | int, target: str, **question: object):
    """What the inspecting app answers; an int is a port on 127.0.0.1."""
    address = ("127.0.0.1", address) if isinstance(address, int) else address
    query = urllib.parse.urlencode(question)
    answer = http_get(address, f"/{target}?{query}")
    assert answer.status == 200, answer.text
    return json.loads(answer.body)


def inspector_text(address: Address | int, **options: object) -> str:
    """A vassal file with the inspecting app; an int is a port on 127.0.0.1. A list is a line for each entry."""
    where = f"127.0.0.1:{address}" if isinstance(address, int) else address
    lines = ["[uwsgi]", f"http-socket = {where}", "module = inspector:application", f"chdir = {APPS}"]
    for key, value in options.items():
        name = key.rstrip("_").replace("_", "-")
        lines += [f"{name} = {entry}" for entry in (value if isinstance(value, list) else [value])]
    return "\n".join(lines) + "\n"
