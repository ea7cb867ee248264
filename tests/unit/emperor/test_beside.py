"""What status shows of jobs and daemons: the last word of whoever may still speak."""

from emperor.beside import RUNNING, Beside, merged
from vassal.link import CronReport, DaemonReport


def cron(next_=0, last=0, exit_=RUNNING, took=0, command="x"):
    return CronReport((command,), (next_,), (last,), (exit_,), (took,))


def daemons(*states, pid=7):
    return DaemonReport(tuple("abc"[: len(states)]), (pid,) * len(states), states, (0,) * len(states))


def test_nothing_said_is_nothing_shown():
    assert Beside().jobs("blog") == []
    assert Beside().daemons("blog", None) == []


def test_the_log_that_a_file_names_is_known_until_it_names_none():
    beside = Beside()
    assert beside.log("blog") is None
    beside.said_of_log("blog", "/var/log/blog.log", 33)
    assert beside.log("blog") == ("/var/log/blog.log", 33)
    beside.said_of_log("blog", "", 33)
    assert beside.log("blog") is None
    beside.said_of_log("blog", "/var/log/blog.log", 33)
    beside.forget("blog")
    assert beside.log("blog") is None


def test_an_old_generation_tells_how_its_job_ended_and_not_when_it_is_due():
    beside = Beside()
    beside.said_of_cron("blog", cron(next_=100, last=40), serves=True)
    beside.ready("blog")
    beside.said_of_cron("blog", cron(next_=100), serves=True)
    beside.said_of_cron("blog", cron(next_=0, last=40, exit_=3, took=1500), serves=False)
    assert beside.jobs("blog") == [{"command": "x", "next": 100, "last": 40, "exit": 3, "duration": 1.5}]
    beside.said_of_cron("blog", cron(next_=160, last=100, exit_=0, took=10), serves=True)
    beside.said_of_cron("blog", cron(last=40, exit_=3), serves=False)
    assert beside.jobs("blog")[0]["last"] == 100


def test_the_last_run_is_known_after_a_reload_in_whatever_order_they_speak():
    beside = Beside()
    beside.said_of_cron("blog", cron(next_=100, last=40, exit_=0, took=10), serves=True)
    beside.ready("blog")
    assert beside.jobs("blog") == []
    beside.said_of_cron("blog", cron(next_=0, last=40, exit_=0, took=10), serves=False)
    beside.said_of_cron("blog", cron(next_=100), serves=True)
    assert (beside.jobs("blog")[0]["next"], beside.jobs("blog")[0]["last"]) == (100, 40)


def test_other_jobs_inherit_nothing():
    assert merged(cron(next_=5, command="y"), cron(last=40)) == cron(next_=5, command="y")
    assert merged(cron(next_=5), None) == cron(next_=5)


def test_columns_of_any_length_are_survived():
    odd = CronReport(("x", "y"), (1,), (1, 2), (), (3,))
    assert merged(odd, odd) == odd
    beside = Beside()
    beside.said_of_cron("blog", odd, serves=True)
    assert beside.jobs("blog") == []


def test_a_reload_without_daemons_shows_none():
    beside = Beside()
    beside.said_of_daemons("blog", daemons("running"), serves=True)
    beside.said_of_daemons("blog", daemons("stopping"), serves=False)
    assert [row["state"] for row in beside.daemons("blog", None)] == ["running"]
    beside.ready("blog")
    assert beside.daemons("blog", None) == []


def test_a_dead_master_leaves_only_what_goes_on_without_it():
    beside = Beside()
    beside.said_of_daemons("blog", DaemonReport(("a", "b"), (7, 8), ("running", "running"), (0, 2)), serves=True)
    assert beside.daemons("blog", {8}) == [
        {"command": "a", "pid": None, "state": "ended", "restarts": 0},
        {"command": "b", "pid": 8, "state": "running", "restarts": 2},
    ]
    beside.ended("blog")
    assert beside.daemons("blog", set()) == []


def test_a_vassal_forges_no_line():
    beside = Beside()
    beside.said_of_daemons("blog", DaemonReport(("a\n[emperor] x",), (0,), ("s" * 99 + "\n",), (0,)), serves=True)
    (row,) = beside.daemons("blog", None)
    assert "\n" not in row["command"]
    assert len(row["state"]) <= 40
    assert row["pid"] is None


def test_forgotten_is_forgotten():
    beside = Beside()
    beside.said_of_cron("blog", cron(last=40), serves=True)
    beside.ready("blog")
    beside.forget("blog")
    beside.said_of_cron("blog", cron(next_=5), serves=True)
    assert beside.jobs("blog")[0]["last"] is None
