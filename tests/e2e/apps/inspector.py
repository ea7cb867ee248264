"""An app that tells what it is and tries what it should not be able to do; every answer is JSON.

It plays the hostile tenant: whatever it can reach, a tenant can. The danger here is `/search`, which must not find
its own question: what is searched for comes in two halves, which lie side by side in memory only where it is whole.
"""

import contextlib
import ctypes
import errno
import importlib
import json
import os
import signal
import sys
import urllib.parse

PR_SET_DUMPABLE = 4
WANTED = importlib.import_module(os.environ["IMPORT"]) if "IMPORT" in os.environ else None


def application(environ, start_response):
    question = dict(urllib.parse.parse_qsl(environ["QUERY_STRING"]))
    body = json.dumps(ANSWERS[environ["PATH_INFO"]](**question)).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def identity():
    mask = os.umask(0)
    os.umask(mask)
    with open("/proc/self/status") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file)
    return {
        "uids": os.getresuid(),
        "gids": os.getresgid(),
        "groups": sorted(os.getgroups()),
        "umask": mask,
        "capabilities": {name: int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")},
        "environment": dict(os.environ),
        "directory": os.getcwd(),
        "pid": os.getpid(),
        "master": os.getppid(),
    }


def python():
    return {
        "path": sys.path,
        "argv": sys.argv,
        "modules": sorted(sys.modules),
        "files": {name: getattr(module, "__file__", None) for name, module in sys.modules.items()},
        "executable": sys.executable,
        "prefix": sys.prefix,
        "version": list(sys.version_info[:2]),
        "hash": hash("seed"),
        "imported": WANTED and WANTED.__file__,
    }


def descriptors():
    """What lies behind each descriptor of this process."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found[name] = os.readlink(f"/proc/self/fd/{name}")
    return found


def read(path):
    return _attempt(lambda: open(path, "rb").read(1))


def write(path, text):
    def append():
        with open(path, "a") as file:
            file.write(text)

    return _attempt(append)


def kill(pid):
    """Try every signal that could do harm; 0 only asks."""
    return [_attempt(lambda number=number: os.kill(int(pid), number)) for number in (0, signal.SIGCONT, signal.SIGTERM)]


def trace(pid):
    """PTRACE_SEIZE, and reading the memory of another process (process_vm_readv(2))."""
    libc = ctypes.CDLL(None, use_errno=True)

    def seize():
        if libc.ptrace(0x4206, int(pid), None, None) != 0:
            raise OSError(ctypes.get_errno(), "ptrace")

    def take_descriptor():
        process = os.pidfd_open(int(pid))
        try:
            if libc.syscall(438, process, 1, 0) < 0:  # pidfd_getfd(2)
                raise OSError(ctypes.get_errno(), "pidfd_getfd")
        finally:
            os.close(process)

    return [_attempt(seize), _attempt(take_descriptor)]


def become(uid):
    return [_attempt(lambda: os.setresuid(int(uid), -1, -1)), _attempt(lambda: os.setgroups([0]))]


def search(first, second):
    """How often `first` is followed at once by `second` in this process's memory."""
    # A process that changed its user may not read its own /proc entries by default (proc(5), PR_SET_DUMPABLE).
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
    head, tail = first.encode(), second.encode()
    count = 0
    with open("/proc/self/maps") as maps:
        regions = [line.split()[:2] for line in maps]
    with open("/proc/self/mem", "rb", buffering=0) as memory:
        for where, rights in regions:
            if rights.startswith("r"):
                start, end = (int(part, 16) for part in where.split("-"))
                count += _count(memory, start, end, head, tail)
    return count


def _count(memory, start, end, head, tail):
    size, found = 1 << 20, 0
    while start < end:
        with contextlib.suppress(OSError, OverflowError):  # [vvar] and the like cannot be read
            memory.seek(start)
            block = memory.read(min(size, end - start) + len(head) + len(tail)) or b""
            at = block.find(head)
            while 0 <= at < size:
                found += block.startswith(tail, at + len(head))
                at = block.find(head, at + 1)
        start += size
    return found


def _attempt(action):
    try:
        action()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"


ANSWERS = {
    f"/{function.__name__}": function
    for function in (identity, python, descriptors, read, write, kill, trace, become, search)
}
