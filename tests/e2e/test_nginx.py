"""nginx in front, as most people run it: once by uwsgi_pass over a UNIX socket, once by proxy_pass over TCP."""

import hashlib
import json
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients import LoadGenerator, http_get, http_post
from tests.harness import free_port, nginx_command, wait_until

pytestmark = pytest.mark.nginx

MEGABYTE = 1 << 20

CONFIG = """
{user}
worker_processes 1;
daemon off;
pid {dir}/nginx.pid;
error_log {dir}/error.log warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_max_body_size 64m;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    uwsgi_temp_path {dir}/uwsgi;
    fastcgi_temp_path {dir}/fastcgi;
    scgi_temp_path {dir}/scgi;
    {upstream}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            {location}
        }}
    }}
}}
"""

PROXY = """
            proxy_pass http://vassal;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
"""

UWSGI = """
            include /etc/nginx/uwsgi_params;
            uwsgi_pass vassal;
"""


@dataclass(frozen=True)
class Front:
    """A running nginx: the port that it answers on, and the socket line of the vassal behind it."""

    port: int
    line: str

    @property
    def address(self):
        return ("127.0.0.1", self.port)


def answers(address):
    try:
        return http_get(address).status
    except OSError:
        return None


@pytest.fixture(params=["uwsgi_pass", "proxy_pass"])
def front(request, tmp_path):
    directory = tmp_path / "nginx"
    directory.mkdir()
    port, behind = free_port(), free_port()
    unix = tmp_path / "app.sock"
    by_uwsgi = request.param == "uwsgi_pass"
    server = f"server unix:{unix};" if by_uwsgi else f"server 127.0.0.1:{behind}; keepalive 4;"
    config = directory / "nginx.conf"
    config.write_text(
        CONFIG.format(
            # Its workers must reach pytest's private directory.
            user="user root;" if os.geteuid() == 0 else "",
            dir=directory,
            port=port,
            upstream=f"upstream vassal {{ {server} }}",
            location=UWSGI if by_uwsgi else PROXY,
        )
    )
    command = [nginx_command(), "-p", str(directory), "-c", str(config)]
    with (directory / "output").open("wb") as output:
        nginx = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    wait_until(
        lambda: nginx.poll() is not None or answers(("127.0.0.1", port)),
        message=lambda: f"nginx: {Path(directory / 'output').read_text()}",
    )
    assert nginx.poll() is None, (directory / "output").read_text()
    yield Front(port, f"socket = {unix}" if by_uwsgi else f"http-socket = 127.0.0.1:{behind}")
    nginx.send_signal(signal.SIGTERM)
    nginx.wait(10)


def test_django_logs_in_through_nginx(sites, browser, front):
    sites.shop(front.line, processes=2, threads=2)
    visitor = browser(front.port)
    assert "Log out" in visitor.log_in()
    assert visitor.url == f"http://127.0.0.1:{front.port}/admin/"
    visitor.get("/admin/catalogue/product/add/")
    listed = visitor.post("/admin/catalogue/product/add/", name="Sandals", price="30.00", in_stock="on")
    assert "was added successfully" in listed
    assert visitor.get("/static/admin/css/base.css").startswith("/*")


def test_large_bodies_pass_nginx_whole(sites, front):
    expected = sites.large_file(50)
    sites.transfer(front.line, threads=2)
    body = os.urandom(20 * MEGABYTE)
    answer = http_post(front.address, "/upload", body)
    assert json.loads(answer.body) == {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    for path in ("/file", "/stream"):
        answer = http_get(front.address, path)
        assert answer.status == 200
        assert hashlib.sha256(answer.body).hexdigest() == expected, path


def test_a_touch_under_load_is_not_seen_through_nginx(sites, emperor, front):
    sites.blog(front.line, processes=2, threads=2)
    first = emperor.status("blog")["generation"]
    with LoadGenerator(front.address, threads=4, pause=0.002) as running:
        wait_until(lambda: running.load.requests > 50, message="the load to run")
        emperor.touch("blog")
        emperor.wait_state("blog", "running", generation=first + 1, deadline=30)
        seen = running.load.requests
        wait_until(lambda: running.load.requests > seen + 50, message="answers after the reload")
        load = running.stop()
    assert load.failures == []


def test_a_deleted_vassal_is_a_bad_gateway(sites, emperor, front):
    sites.blog(front.line)
    assert answers(front.address) == 200
    emperor.delete("blog")
    wait_until(lambda: answers(front.address) == 502, 20, "502 from nginx")
    emperor.wait_gone("blog")
