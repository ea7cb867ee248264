"""Real apps behind the vassal's own HTTP: Flask, Django's admin, large bodies, reloads under load, and the end."""

import hashlib
import json
import os
import socket

import pytest

from tests.clients import HttpClient, LoadGenerator, http_get, http_post, refuses
from tests.harness import free_port, wait_until

MEGABYTE = 1 << 20


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def socket_line(port):
    return f"http-socket = 127.0.0.1:{port}"


def test_a_flask_app_takes_a_form(sites, browser, port, socket_line):
    sites.blog(socket_line, threads=2)
    visitor = browser(port)
    assert "Nothing here yet" in visitor.get("/")
    page = visitor.post("/", title="Römer & Co", text="<b>Ave</b>")
    assert (visitor.status, visitor.url) == (200, f"http://127.0.0.1:{port}/")
    assert "Römer &amp; Co" in page
    assert "&lt;b&gt;Ave&lt;/b&gt;" in page
    visitor.post("/", title="", text="x")
    assert visitor.status == 400


def test_django_logs_in_and_saves_a_form(sites, browser, port, socket_line):
    sites.shop(socket_line, processes=2, threads=2)
    visitor = browser(port)
    assert "Please enter the correct" in visitor.log_in(password="wrong")
    page = visitor.log_in()
    assert visitor.url.endswith("/admin/")
    assert "Log out" in page
    visitor.get("/admin/catalogue/product/add/")
    path = "/admin/catalogue/product/add/"
    listed = visitor.post(path, name="Sandals", description="Size XLII", price="30.00", in_stock="on")
    assert "was added successfully" in listed
    assert "Sandals" in browser(port).get("/")
    visitor.post(path, csrf=False, name="Forged", price="1.00")
    assert visitor.status == 403
    assert "Forged" not in visitor.get("/")


def test_the_admin_finds_its_style_sheet(sites, browser, port, socket_line):
    sites.shop(socket_line)
    answer = http_get(("127.0.0.1", port), "/static/admin/css/base.css")
    assert answer.status == 200
    assert answer.header("content-type").startswith("text/css")
    assert len(answer.body) == int(answer.header("content-length"))


def test_an_upload_of_20_megabytes_arrives_whole(sites, port, socket_line):
    sites.transfer(socket_line)
    body = os.urandom(20 * MEGABYTE)
    answer = http_post(("127.0.0.1", port), "/upload", body)
    assert json.loads(answer.body) == {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}


@pytest.mark.parametrize("path", ["/file", "/stream"])
def test_a_download_of_50_megabytes_arrives_whole(sites, port, socket_line, path):
    expected = sites.large_file(50)
    sites.transfer(socket_line, threads=2)
    answer = http_get(("127.0.0.1", port), path)
    assert answer.status == 200
    assert hashlib.sha256(answer.body).hexdigest() == expected


@pytest.mark.parametrize("keep_alive", [False, True], ids=["a connection each", "keep-alive"])
def test_a_touch_under_load_costs_no_request(sites, emperor, port, socket_line, keep_alive):
    sites.blog(socket_line, processes=2, threads=2)
    first = emperor.status("blog")["generation"]
    with LoadGenerator(("127.0.0.1", port), threads=4, keep_alive=keep_alive, pause=0.002) as running:
        wait_until(lambda: running.load.requests > 50, message="the load to run")
        for step in (1, 2):
            emperor.touch("blog")
            emperor.wait_state("blog", "running", generation=first + step, deadline=30)
        seen = running.load.requests
        wait_until(lambda: running.load.requests > seen + 50, message="answers after the reloads")
        load = running.stop()
    assert load.failures == []


def test_a_download_that_runs_through_a_reload_ends_whole(sites, emperor, port, socket_line):
    expected = sites.large_file(50)
    sites.transfer(socket_line)
    with HttpClient(("127.0.0.1", port), timeout=60) as client:
        client.send_request("GET", "/stream")
        assert client.sock.recv(1, socket.MSG_PEEK) == b"H"
        emperor.touch("transfer")
        emperor.wait_state("transfer", "running", generation=2, deadline=30)
        wait_until(lambda: http_get(("127.0.0.1", port)).status == 200, message="the new generation's answer")
        # Far more than sockets buffer is still to come, and only the old generation can send it.
        answer = client.response()
    assert hashlib.sha256(answer.body).hexdigest() == expected


def test_a_broken_deploy_leaves_the_site_up(sites, emperor, browser, port, socket_line):
    sites.blog(socket_line)
    path = emperor.path("blog")
    good = path.read_text()
    with LoadGenerator(("127.0.0.1", port), threads=2, pause=0.002) as running:
        emperor.write("blog", good.replace("blog:app", "no_such_blog:app"))
        wait_until(lambda: emperor.status("blog")["last_failure"], 30, "the failed reload to be told")
        failure = emperor.status("blog")
        emperor.write("blog", good)
        emperor.wait_state("blog", "running", generation=failure["generation"] + 1, deadline=30)
        load = running.stop()
    assert "no_such_blog" in failure["last_failure"]["reason"]
    assert load.failures == []


def test_a_deleted_vassal_refuses_connections(sites, emperor, port, socket_line):
    sites.blog(socket_line)
    assert http_get(("127.0.0.1", port)).status == 200
    emperor.delete("blog")
    wait_until(lambda: refuses(("127.0.0.1", port)), 20, "connections to be refused")
    emperor.wait_gone("blog")
