"""The worker processes: a machine that is short of descriptors costs an attempt, never the master."""

import errno
import os
import selectors
import socket

import pytest

from vassal import pool
from vassal.children import Children
from vassal.scoreboard import Scoreboard


class Owner:
    """A master whose workers wait until they are killed, or until this test has failed."""

    def plan(self, _slot, _sock):
        raise AssertionError("the worker was to be killed")

    def leave(self):
        os.close(self.gate[1])
        os.read(self.gate[0], 1)

    def loaded(self, _slot):
        raise AssertionError("no worker loads")

    def gone(self, _slot, _child, _status):
        raise AssertionError("no worker was ever one of the master's")


@pytest.mark.parametrize("short", ["socketpair", "pidfd"])
def test_a_worker_for_which_descriptors_are_lacking_is_tried_again_later(monkeypatch, capfd, short):
    def refuse(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    owner = Owner()
    owner.gate = os.pipe()
    workers = pool.Pool(1, 60)
    with selectors.DefaultSelector() as selector:
        children = Children(owner, workers, Scoreboard(workers.slots, 1), selector, lambda _number: None)
        with monkeypatch.context() as patched:
            if short == "socketpair":
                patched.setattr(socket, "socketpair", refuse)
            else:
                patched.setattr(os, "pidfd_open", refuse)
            children.act(workers.decide(0.0))
    for descriptor in owner.gate:
        os.close(descriptor)
    assert not children.by_slot
    assert not workers.workers
    assert workers.deadline() is not None
    assert "cannot fork worker 1: Too many open files" in capfd.readouterr().err
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
