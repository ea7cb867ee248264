"""Commands on a named pipe, to a real vassal: what they do, and who reads them after a reload."""

import contextlib
import os
import socket
import stat

import pytest

from tests.clients import http_get
from tests.e2e.asking import inspector_text
from tests.e2e.realm import own
from tests.harness import free_port, vassal_text, wait_until, write_app


def write(path, letters):
    with open(os.open(path, os.O_WRONLY | os.O_NONBLOCK), "w", encoding="ascii") as file:
        file.write(letters)


def workers(emperor):
    return emperor.status("blog")["workers"]


def test_commands_to_a_vassal(emperor, tmp_path):
    write_app(tmp_path, "app", "one")
    port, pipe = free_port(), tmp_path / "pipe"
    text = vassal_text(port, chdir=tmp_path, processes=2, threads=2, master_fifo=pipe)
    emperor.write("blog", text)
    emperor.wait_state("blog", "running")
    wait_until(pipe.exists, 10, "the pipe")

    def log_has(words):
        wait_until(lambda: words in emperor.vassal_log("blog"), 10, words)

    write(pipe, "s\n")
    log_has("worker 2: pid")
    write(pipe, "-")
    wait_until(lambda: workers(emperor) == 1, 10, "one worker")
    write(pipe, "+")
    wait_until(lambda: workers(emperor) == 2, 10, "two workers")
    write(pipe, "r")
    emperor.wait_state("blog", "running", generation=2)
    wait_until(
        lambda: len([p for p in emperor.processes() if "blog gen 1" in " ".join(p.cmdline())]) == 0, 10, "its end"
    )
    # The new generation reads now. While it pauses, callers wait; then they are answered.
    write(pipe, "p")
    wait_until(lambda: workers(emperor) == 0, 10, "the pause")
    with socket.create_connection(("127.0.0.1", port)) as waiting:
        waiting.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        waiting.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            assert waiting.recv(1) == b"", "answered in a pause"
        write(pipe, "p")
        waiting.settimeout(20)
        assert waiting.recv(9) == b"HTTP/1.1 "
    write(pipe, "C")
    log_has("told to be cheap")
    assert http_get(("127.0.0.1", port)).text == "one"
    # One that ends by itself is started again; one that is deleted takes its pipe along.
    write(pipe, "q")
    emperor.wait_state("blog", "running", generation=3)
    wait_until(lambda: emperor.status("blog")["pid"], 10, "its pid")
    emperor.delete("blog")
    emperor.wait_gone("blog")
    assert not pipe.exists()


def test_a_file_in_the_way_is_refused_and_left_alone(emperor, tmp_path):
    write_app(tmp_path, "app", "one")
    (tmp_path / "pipe").write_text("mine")
    emperor.write("blog", vassal_text(free_port(), chdir=tmp_path, master_fifo=tmp_path / "pipe"))
    found = emperor.wait_state("blog", "broken")
    assert "something else than a named pipe" in found["last_failure"]["reason"]
    assert (tmp_path / "pipe").read_text() == "mine"


@pytest.mark.root
def test_the_pipe_is_the_vassals_users_own(realm):
    user, other = realm.new_user(), realm.new_user()
    place = realm.directory_of(user)
    os.mkfifo(place / "theirs")
    own(place / "theirs", other, 0o666)
    realm.drop("bad", inspector_text(free_port(), uid=user.pw_name, master_fifo=place / "theirs"))
    realm.wait_refused("bad", f"belongs to {other.pw_name}")
    realm.drop("app", inspector_text(free_port(), uid=user.pw_name, master_fifo=place / "pipe"))
    realm.emperor.wait_state("app", "running")
    wait_until((place / "pipe").exists, 10, "the pipe")
    found = (place / "pipe").lstat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (user.pw_uid, 0o600)
