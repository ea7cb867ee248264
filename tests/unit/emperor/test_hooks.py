"""Hooks of the emperor's file: what each generation is told to run, when a life begins and ends, and who waits."""

import os
from types import SimpleNamespace

import pytest

from emperor import hooks
from emperor.contracts import Contracts
from emperor.manifest import Manifest
from emperor.settings import EmperorSettings
from emperor.states import Purpose
from vassal import link

SERVE, INSPECT, JOBS = Purpose.SERVE, Purpose.INSPECT, Purpose.JOBS
MANIFEST = Manifest("blog", "/e/blog.ini", (1, 2, 3, 4, 5), (1000, 1001))


class Bench:
    """Hooks with a spawner and a clock of the test's own."""

    def __init__(self, **settings):
        self.spawned, self.swept, self.said, self.timers = [], [], [], []
        self.numbers = iter(range(100, 200))
        self.over = 0
        contracts = Contracts(EmperorSettings(log_dir=None))
        self.hooks = hooks.Hooks(
            self,
            EmperorSettings(**settings),
            contracts,
            self,
            lambda: next(self.numbers),
            self.said.append,
            self._count,
        )

    def _count(self):
        self.over += 1

    # the loop
    def call_later(self, seconds, function, *arguments):
        timer = SimpleNamespace(seconds=seconds, fire=lambda: function(*arguments), off=False)
        timer.cancel = lambda: setattr(timer, "off", True)
        self.timers.append(timer)
        return timer

    # the spawner
    def spawn(self, spawn, descriptor):
        end = link.End(link.socket.socket(fileno=descriptor), link.AT_VASSAL)
        record, fds = end.read()
        for fd in fds:
            os.close(fd)
        end.close()
        self.spawned.append((spawn, record))

    def sweep(self, spawn):
        self.swept.append(spawn)

    # a fleet
    def start(self, number, purpose=SERVE):
        return [line.split()[0] for line in self.hooks.at_start("blog", number, MANIFEST, purpose).lines]

    def end(self, number, purpose=SERVE, *, parking=False):
        self.hooks.ended(run(number, purpose, parking=parking))

    def stops(self):
        return [record.hooks for _, record in self.spawned if record.hooks[0].startswith("vassals-stop-hook")]


def run(number, purpose=SERVE, *, parking=False):
    return SimpleNamespace(name="blog", number=number, purpose=purpose, parking=parking, pid=4321)


def both():
    return Bench(vassals_start_hook="/bin/start -v", vassals_stop_hook="/bin/stop")


def test_a_life_begins_once_and_ends_once():
    bench = both()
    assert bench.start(1) == ["vassals-start-hook"]
    assert bench.start(2) == [], "a reload is no start"
    bench.end(1)
    assert bench.start(3) == []
    bench.end(3)
    assert bench.stops() == []
    bench.end(2)
    assert bench.stops() == [("vassals-stop-hook /bin/stop blog.ini",)]
    bench.end(2)
    assert len(bench.stops()) == 1
    assert bench.start(4) == ["vassals-start-hook"]


def test_the_program_gets_the_file_and_where_it_lies():
    bench = both()
    hooking = bench.hooks.at_start("blog", 1, MANIFEST, SERVE)
    assert hooking.lines == ("vassals-start-hook /bin/start -v blog.ini",)
    assert hooking.environment == {
        "UWSGI_VASSALS_DIR": "/e",
        "UWSGI_VASSAL_CONFIG": "/e/blog.ini",
        "UWSGI_VASSAL_NAME": "blog",
    }


def test_a_name_is_one_argument_whatever_it_holds():
    line = hooks._program("vassals-start-hook", "/bin/start", Manifest("x", "/e/a b;id $(id).ini", (0,) * 5, (0, 0)))
    assert line == "vassals-start-hook /bin/start 'a b;id $(id).ini'"


def test_who_only_looks_or_runs_jobs_lives_no_life():
    bench = both()
    assert bench.start(1, JOBS) == []
    bench.end(1, JOBS, parking=True)
    assert bench.start(2, INSPECT) == ["vassals-start-hook"]  # it runs it only if it goes on to serve
    bench.end(2, INSPECT, parking=True)
    assert bench.spawned == []
    bench.start(3, INSPECT)
    bench.hooks.serves(run(3, INSPECT))
    bench.end(3, INSPECT, parking=True)
    assert len(bench.stops()) == 1


def test_every_generation_has_the_others():
    lines = {
        "hook_as_emperor_before_vassal": ("exec:a",),
        "hook_as_vassal_before_drop": ("exec:b",),
        "hook_as_vassal": ("exec:c",),
        "exec_as_vassal": ("d",),
    }
    bench = Bench(vassals_start_hook="/bin/start", **lines)
    names = ["hook-as-emperor-before-vassal", "hook-as-vassal-before-drop", "hook-as-vassal", "exec-as-vassal"]
    assert bench.start(1) == [*names, "vassals-start-hook"]
    assert bench.start(2) == names
    assert bench.start(3, JOBS) == []


@pytest.mark.parametrize("tyrant", [True, False])
def test_as_emperor_with_the_variables_of_uwsgi(tyrant):
    bench = Bench(hook_as_emperor=("exec:a",), exec_as_emperor=("b",), tyrant=tyrant)
    bench.start(1)
    bench.hooks.serves(run(1))
    [(spawn, record)] = bench.spawned
    assert (record.purpose, record.hooks) == ("hook", ("hook-as-emperor exec:a", "exec-as-emperor b"))
    uid, gid = (1000, 1001) if tyrant else (os.geteuid(), os.getegid())
    told = record.hook_environment
    assert (told["UWSGI_VASSAL_PID"], told["UWSGI_VASSAL_UID"], told["UWSGI_VASSAL_GID"]) == (
        "4321",
        str(uid),
        str(gid),
    )
    assert bench.hooks.busy
    assert bench.hooks.over(spawn, "exited with status 1")
    assert not bench.hooks.busy
    assert bench.said == ["vassal blog: hook-as-emperor failed (exited with status 1); its log says why"]
    assert (bench.over, bench.timers[0].off) == (1, True)
    assert not bench.hooks.over(spawn, "")


def test_a_start_waits_for_the_end_of_the_life_before():
    bench, gone = both(), []
    bench.start(1)
    bench.hooks.when_free("blog", lambda: gone.append(1))
    assert gone == [1]
    bench.end(1)
    bench.start(2)
    bench.hooks.when_free("blog", lambda: gone.append(2))
    bench.hooks.when_free("shop", lambda: gone.append("shop"))
    assert gone == [1, "shop"]
    bench.hooks.over(bench.spawned[0][0], "")
    assert gone == [1, "shop", 2]


def test_a_child_that_hangs_is_killed(monkeypatch):
    bench, killed = both(), []
    monkeypatch.setattr(hooks.signal, "pidfd_send_signal", lambda fd, number: killed.append((fd, number)))
    bench.start(1)
    bench.end(1)
    spawn = bench.spawned[0][0]
    bench.timers[0].fire()
    assert killed == [], "it has no process yet"
    pidfd = os.open("/dev/null", os.O_RDONLY)
    assert bench.hooks.born(spawn, pidfd)
    assert (killed, bench.swept) == ([(pidfd, 9)], [spawn])
    assert "does not end after 70 s: killed" in bench.said[0]
    bench.hooks.over(spawn, "was killed by SIGKILL")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(pidfd)
    assert not bench.hooks.born(spawn, 0)
    bench.hooks.kill_all()


def test_what_cannot_be_told_is_not_run():
    bench = Bench(exec_as_emperor=("x" * 70_000,))
    bench.start(1)
    bench.hooks.serves(run(1))
    assert (bench.spawned, bench.hooks.busy) == ([], False)
    assert "hook-as-emperor cannot be run" in bench.said[0]
