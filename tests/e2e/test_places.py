"""What lies in a place and how it gets there: slow writers, editors, links, backups, directories that come and go."""

import os
import shutil

from tests.clients import http_get
from tests.harness import (
    free_port,
    interpreter_is_private,
    touch_file,
    unavailable,
    vassal_text,
    wait_until,
    write_app,
)


def running(emperor, name, generation=None):
    return emperor.wait_state(name, "running", generation=generation)


def test_a_file_that_is_still_being_written_starts_nothing(emperor, app):
    port = free_port()
    text = vassal_text(port, chdir=app)
    other = vassal_text(free_port(), chdir=app)
    with emperor.path("blog").open("w") as file:
        file.write(text[: len(text) // 2])
        file.flush()
        emperor.write("other", other)
        running(emperor, "other")
        assert emperor.status("blog") is None
        file.write(text[len(text) // 2 :])
    row = running(emperor, "blog")
    assert row["generation"] == 1
    assert row["last_failure"] is None


def test_an_editor_that_renames_the_file_away_and_writes_it_anew_does_not_stop_the_app(emperor, app):
    port = free_port()
    path = emperor.write("blog", vassal_text(port, chdir=app))
    pid = running(emperor, "blog")["pid"]
    path.rename(emperor.vassals / "blog.ini~")
    path.write_text(vassal_text(port, chdir=app, threads=2))
    (emperor.vassals / "blog.ini~").unlink()
    assert running(emperor, "blog", generation=2)["pid"] != pid
    assert "its file is gone" not in emperor.log.read_text()


def test_hidden_files_backups_and_other_extensions_are_no_vassals(emperor, app):
    text = vassal_text(free_port(), chdir=app)
    for name in (".hidden.ini", "a.ini~", ".a.ini.swp", "a.ini.dpkg-old", "a.ini.bak", "a.txt", "#a.ini#", "README"):
        (emperor.vassals / name).write_text(text)
    emperor.write("real", vassal_text(free_port(), chdir=app))
    running(emperor, "real")
    assert list(emperor.statuses()) == ["real"]


def test_an_extra_extension(start_emperor, app):
    emperor = start_emperor(settings={"emperor-extra-extension": "vassal"})
    emperor.write("blog.vassal", vassal_text(free_port(), chdir=app))
    running(emperor, "blog")


def test_a_touch_of_a_links_target_counts_and_the_links_own_does_not(emperor, app, tmp_path):
    target = tmp_path / "elsewhere.ini"
    target.write_text(vassal_text(free_port(), chdir=app))
    link = emperor.path("blog")
    link.symlink_to(target)
    running(emperor, "blog")
    touch_file(target)
    running(emperor, "blog", generation=2)


def test_a_links_own_touch_counts_with_nofollow(start_emperor, app, tmp_path):
    emperor = start_emperor(settings={"emperor-nofollow": "true"})
    target = tmp_path / "elsewhere.ini"
    target.write_text(vassal_text(free_port(), chdir=app))
    link = emperor.path("blog")
    link.symlink_to(target)
    running(emperor, "blog")
    facts = link.lstat()
    os.utime(link, ns=(facts.st_atime_ns, facts.st_mtime_ns + 10**9), follow_symlinks=False)
    running(emperor, "blog", generation=2)


def test_a_directory_that_vanishes_and_comes_back_is_watched_again(make_emperor, app, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    port = free_port()
    (place / "blog.ini").write_text(vassal_text(port, chdir=app))
    emperor = make_emperor(places=[place]).start()
    running(emperor, "blog")
    shutil.rmtree(place)
    emperor.wait_gone("blog")
    place.mkdir()
    (place / "blog.ini").write_text(vassal_text(port, chdir=app))
    running(emperor, "blog")
    touch_file(place / "blog.ini")
    running(emperor, "blog", generation=2)


def test_two_files_of_one_name_get_two_names_and_keep_them(make_emperor, app, tmp_path):
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
    emperor = make_emperor(places=[tmp_path / "a", tmp_path / "b"]).start()
    (tmp_path / "a" / "blog.ini").write_text(vassal_text(free_port(), chdir=app))
    running(emperor, "blog")
    port = free_port()
    (tmp_path / "b" / "blog.ini").write_text(vassal_text(port, chdir=app))
    running(emperor, "b/blog")
    (tmp_path / "a" / "blog.ini").unlink()
    emperor.wait_gone("blog")
    touch_file(tmp_path / "b" / "blog.ini")
    running(emperor, "b/blog", generation=2)
    assert http_get(("127.0.0.1", port)).text == "one"
    assert emperor.cli("logs", "b/blog").returncode == 0


def test_a_directory_without_permission_keeps_its_vassals(make_emperor, open_path):
    place = open_path / "place"
    for directory in (place, open_path / "app"):
        directory.mkdir()
    write_app(open_path / "app", "app", "one")
    (place / "blog.ini").write_text(vassal_text(free_port(), chdir=open_path / "app"))
    emperor = make_emperor(open_path, places=[place])
    if os.geteuid() == 0:  # root may read everything
        private = interpreter_is_private()
        if private is not None:
            unavailable(f"other users cannot enter {private}, where this Python or checkout lies")
        for name in (open_path, place, emperor.logs):
            os.chown(name, 65534, 65534)
        emperor.command = [
            shutil.which("setpriv"),
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            *emperor.command,
        ]
    emperor.start()
    running(emperor, "blog")
    place.chmod(0)
    try:
        wait_until(lambda: str(place) in emperor.log.read_text().partition("ready")[2], 10, "the warning")
        assert emperor.status("blog")["state"] == "running"
    finally:
        place.chmod(0o755)


def test_a_file_that_is_moved_away_is_gone_and_delays_nobody(emperor, app, tmp_path):
    emperor.write("a", vassal_text(free_port(), chdir=app))
    running(emperor, "a")
    emperor.path("a").rename(tmp_path / "elsewhere.ini")
    emperor.write("b", vassal_text(free_port(), chdir=app))
    running(emperor, "b")
    emperor.wait_gone("a")
