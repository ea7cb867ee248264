"""Static files of a vassal under a real emperor: from the lines of an ini file to what a client gets."""

import os

from tests.clients import HttpClient, http_get
from tests.harness import free_port, vassal_text, wait_until, write_app


def test_a_vassal_serves_its_files_and_a_touch_brings_new_maps(emperor, tmp_path):
    site = tmp_path / "site"
    for name, text in (("static/app.css", "body{}"), ("media/a.txt", "a"), ("private.txt", "private")):
        path = site / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (1_700_000_000, 1_700_000_000))
    write_app(site, answer="from the app")
    port = free_port()
    more = {"chdir": site, "static-map": "/static/=static/", "static-expires-uri": "/static/* 60"}
    emperor.write("site", vassal_text(port, **more))
    emperor.wait_state("site", "running")
    address = ("127.0.0.1", port)
    with HttpClient(address) as client:
        answer = client.get("/static/app.css")
        assert (answer.body, answer.header("Cache-Control")) == (b"body{}", "max-age=60")
        for target in ("/media/a.txt", "/static/..%2fprivate.txt", "/static/none.css"):
            assert client.get(target).body == b"from the app"
        assert client.get("/static/app.css", Range="bytes=0-3").body == b"body"
    emperor.write("site", vassal_text(port, **more) + "static-map2 = /media=.\n")
    wait_until(lambda: http_get(address, "/media/a.txt").body == b"a", message="the new map is used")
    with HttpClient(address) as client:
        assert client.get("/media/a.txt").body == b"a"
        assert client.get("/static/app.css").body == b"body{}"
