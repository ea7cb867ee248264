"""Cron in a real fleet: one wait for a minute that comes soon; vassals that run, that sleep and that reload."""

import json

from tests.harness import command_line, free_port, vassal_text, wait_until


def titled(emperor, *words):
    return [p for p in emperor.processes() if all(word in command_line(p) for word in words)]


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def test_jobs_of_vassals_that_run_sleep_and_reload(start_emperor, app, tmp_path):
    emperor = start_emperor(minute_in=6)
    asleep = {"idle": 1, "die-on-idle": "true"}
    for name, options in (("awake", {}), ("asleep", asleep), ("reloaded", {"reload-mercy": 90})):
        text = vassal_text(free_port(), chdir=app, **options)
        text += f"cron = * * * * * echo ran {name} in $PWD; date +%%M >> {tmp_path}/{name}\n"
        if name == "reloaded":
            text += f"unique-cron = * * * * * echo x >> {tmp_path}/long; while [ ! -e go ]; do sleep 0.05; done\n"
        emperor.write(name, text)
    emperor.wait_state("asleep", "parked")
    pages = json.loads(emperor.cli("status", "awake", "--json", check=True).stdout)
    assert pages[0]["cron"][0]["next"] > 0
    wait_until(lambda: emperor.status("asleep")["next_wake"] is not None, 20, "the time of its next job")
    wait_until(lambda: all(lines(tmp_path / n) for n in ("awake", "asleep", "reloaded", "long")), 75, "their minute")
    assert emperor.status("asleep")["state"] == "parked"
    assert not [
        p for p in emperor.processes() if "vassal asleep gen" in command_line(p) and "worker" in command_line(p)
    ]
    assert f"cron echo: ran asleep in {app}" in emperor.vassal_log("asleep")
    wait_until(lambda: emperor.status("asleep")["cron"][0]["exit"] == 0, 10, "the result to be shown")
    # Running jobs outlive a reload, and the minute is not served twice.
    emperor.touch("reloaded")
    emperor.wait_state("reloaded", "running", generation=2)
    wait_until(lambda: "exit 0" in emperor.cli("status", "awake", check=True).stdout, 20, "what people are shown")
    (app / "go").touch()
    wait_until(
        lambda: not [p for p in emperor.processes() if "vassal reloaded gen 1" in command_line(p)], 20, "gen 1's end"
    )
    assert len(lines(tmp_path / "awake")) == len(set(lines(tmp_path / "awake")))
    for name in ("asleep", "reloaded"):
        assert len(lines(tmp_path / name)) == len(set(lines(tmp_path / name))), "each minute once"
