"""Harakiri from the master's side: the worker's GIL is held, no Python of it runs."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.clients import HttpClient


def test_a_client_gets_504_while_c_code_holds_the_gil():
    listener = socket.create_server(("127.0.0.1", 0))
    script = str(Path(__file__).with_name("stuck_master.py"))
    with (
        listener,
        subprocess.Popen(
            [sys.executable, script, str(listener.fileno()), "1"],
            pass_fds=[listener.fileno()],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as master,
    ):
        try:
            with HttpClient(listener.getsockname()) as client:
                client.send_request("GET", "/gil?60")
                response = client.response()
                assert response.status == 504
                assert client.sock.recv(1) == b""
        finally:
            output, log = master.communicate(timeout=30)
    assert json.loads(output) == {"answered": 1, "status": -signal.SIGKILL}, log
    assert b"do_gil" in log, "the stack is in the log"
