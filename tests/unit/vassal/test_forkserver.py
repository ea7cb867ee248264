"""The fork server outlives a machine that is short of descriptors."""

import errno
import os
import socket

import pytest

from vassal import link
from vassal.forkserver import ForkServer


def test_a_child_that_cannot_be_watched_is_ended_and_refused(monkeypatch):
    def refuse(_pid):
        raise OSError(errno.EMFILE, "Too many open files")

    ours, theirs = link.pair()
    end = link.End(ours, link.AT_SPAWNER)
    server = ForkServer(theirs, 256)
    vassal, child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    monkeypatch.setattr(os, "pidfd_open", refuse)
    server._spawn(7, child.detach())
    assert end.read() == (link.Unspawned(7, "pidfd_open: Too many open files"), ())
    assert vassal.recv(1) == b""  # the child is gone, and with it the other end
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    for sock in (ours, theirs, vassal):
        sock.close()
    os.close(server._wake_read)
    os.close(server._wake_write)
