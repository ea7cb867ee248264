"""From a contract to a master: what passes through an ``exec``, and what an identity leaves behind."""

import os
import pickle

import pytest

from vassal import entry, handover, identity, interpreter, link, logs, moving, start
from vassal.config import Settings


def contract(path="/none.ini", **changes):
    return link.Contract(purpose="serve", name="blog", generation=1, source=path, version=(), **changes)


def test_the_log_file_is_known_after_an_exec(tmp_path, monkeypatch):
    chosen = interpreter.choose(None, None, fork=True)
    given = handover.Handover(contract(), settings=Settings(), chosen=chosen, log=str(tmp_path / "blog.log"))
    memory = os.memfd_create("handover")
    os.write(memory, pickle.dumps(given))
    os.lseek(memory, 0, os.SEEK_SET)
    monkeypatch.setattr(moving, "finish", lambda *_, **__: 0)
    monkeypatch.setattr(logs, "_file", [])
    monkeypatch.setattr(logs, "_who", ["vassal"])
    assert entry.resume(memory) == 0
    assert logs.file() == str(tmp_path / "blog.log")


@pytest.mark.parametrize("name", ["HOME", "USER", "LOGNAME"])
def test_a_user_that_no_database_knows_does_not_keep_roots_home(monkeypatch, name):
    monkeypatch.setattr(identity, "take", lambda _who: None)
    for one in ("HOME", "USER", "LOGNAME"):  # all of them: what it takes away comes back after the test
        monkeypatch.setenv(one, "root's")
    start.Start(None, contract(), [])._become(identity.account("54321", "54321"))
    assert name not in os.environ


def test_facts_fit_a_packet_however_long_the_paths_are():
    files = [f"/{number}/" + "\N{SNOWMAN}" * 2000 for number in range(200)]
    facts = link.facts(0, 60, "", files)
    assert facts.files == tuple(files[: len(facts.files)])
    assert 1 <= len(facts.files) < 200
    assert link.decode(link.encode(facts), link.AT_EMPEROR) == facts
