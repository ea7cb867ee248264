"""The kept listeners: what a generation may claim of its descriptors, and what becomes of them. Real sockets."""

import functools
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emperor.listeners import OURS, Kept, Store, inspect, shown
from vassal import link, net

UID = 1000


def listener(address=("127.0.0.1", 0), family=socket.AF_INET, *, listening=True):
    sock = socket.socket(family)
    sock.bind(address)
    if listening:
        sock.listen()
    return sock


def kept(sock, key=None, uid=UID, *, quiet=False):
    """An entry with a descriptor of its own for `sock`, as it comes over the link."""
    return Kept(key or net.key_of(sock), "", uid, sock.dup(), quiet)


def closed(fd):
    try:
        os.fstat(fd)
    except OSError:
        return True
    return False


def accepts(sock):
    try:
        socket.create_connection(sock.getsockname(), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def record(*keys):
    return link.Listening(keys, ("",) * len(keys))


@pytest.fixture
def sockets():
    """Makes sockets and closes them afterwards."""
    made = []

    def make(*args, **kwargs):
        made.append(listener(*args, **kwargs))
        return made[-1]

    yield make
    for sock in made:
        sock.close()


# --- what a generation claims ------------------------------------------------------------------------------------


def test_what_is_as_claimed_is_taken(sockets, tmp_path):
    tcp, unix = sockets(), sockets(str(tmp_path / "x.sock"), socket.AF_UNIX)
    abstract = sockets(f"\0emperor-test-{os.getpid()}", socket.AF_UNIX)
    keys = [net.key_of(sock) for sock in (tcp, unix, abstract)]
    claim = link.Listening(tuple(keys), ("", "1:2", ""))
    entries = inspect(claim, [sock.dup().detach() for sock in (tcp, unix, abstract)], UID, os.close)
    assert [(entry.key, entry.inode, entry.uid) for entry in entries] == [
        (keys[0], "", UID),
        (keys[1], "1:2", UID),
        (keys[2], "", UID),
    ]
    for entry in entries:
        entry.sock.close()


def test_a_port_that_the_kernel_chose_is_shown_as_it_is(sockets):
    sock = sockets()
    (entry,) = inspect(record("127.0.0.1:0"), [sock.dup().detach()], UID, os.close)
    with entry.sock:
        assert entry.key == "127.0.0.1:0"
        assert shown(entry) == net.key_of(sock)
    assert shown(entry) == "127.0.0.1:0", "closed meanwhile"


def a_file(tmp_path):
    return os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR), "127.0.0.1:80", "is not a socket"


def a_connected_socket(_tmp_path):
    with listener() as server:
        client = socket.create_connection(server.getsockname())
        return client.detach(), net.key_of(server), "listens on nothing"


def a_bound_socket(_tmp_path):
    sock = listener(listening=False)
    key = net.key_of(sock)
    return sock.detach(), key, "listens on nothing"


def another_address(_tmp_path):
    sock = listener()
    key = net.key_of(sock)
    return sock.detach(), "127.0.0.1:1", f"listens on {key}"


def another_host_with_a_chosen_port(_tmp_path):
    return listener().detach(), "0.0.0.0:0", "listens on 127.0.0.1:0"


def another_path(tmp_path):
    sock = listener(str(tmp_path / "y.sock"), socket.AF_UNIX)
    return sock.detach(), str(tmp_path / "x.sock"), "listens on /"


def neither_tcp_nor_unix(_tmp_path):
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).detach(), "127.0.0.1:80", "is not a listening socket"


LIES = [
    a_file,
    a_connected_socket,
    a_bound_socket,
    another_address,
    another_host_with_a_chosen_port,
    another_path,
    neither_tcp_nor_unix,
]


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("first", [True, False])
def test_a_lie_about_a_descriptor_is_refused_and_all_of_them_are_closed(sockets, tmp_path, lie, first):
    fd, key, reason = lie(tmp_path)
    good = sockets()
    claims = [(key, fd), (net.key_of(good), good.dup().detach())]
    claims = claims if first else claims[::-1]
    gone = []
    with pytest.raises(link.LinkError, match=reason) as raised:
        inspect(record(*(key for key, _ in claims)), [fd for _, fd in claims], UID, gone.append)
    assert key in str(raised.value)
    assert sorted(gone) == sorted(fd for _, fd in claims), "each is handed over once, none is closed by the way"
    for fd in gone:
        os.close(fd)


@pytest.mark.parametrize(("addresses", "inodes"), [(2, 1), (1, 2), (1, 0), (0, 1)])
def test_lists_that_differ_in_length_are_refused(sockets, addresses, inodes):
    fd = sockets().dup().detach()
    with pytest.raises(link.LinkError, match="differ in length"):
        inspect(link.Listening(("127.0.0.1:1",) * addresses, ("",) * inodes), [fd], UID, os.close)
    assert closed(fd)


def test_more_than_64_listeners_are_refused(sockets):
    sock = sockets()
    fds = [sock.dup().detach() for _ in range(link.MAX_LISTENERS + 1)]
    with pytest.raises(link.LinkError, match="more than 64"):
        inspect(record(*[net.key_of(sock)] * len(fds)), fds, UID, os.close)
    assert all(closed(fd) for fd in fds)


# --- the store ---------------------------------------------------------------------------------------------------


@pytest.fixture
def store():
    """A store that closes at once; `close_all` afterwards, so that no descriptor stays."""
    made = Store(lambda fd, _name: os.close(fd))
    yield made
    made.close_all()


def test_what_is_committed_is_offered_and_one_that_comes_again_replaces_it(store, sockets):
    sock = sockets()
    first, second = kept(sock), kept(sock)
    fd = first.sock.fileno()
    store.commit("a", [first])
    assert store.of("a") == store.offers("a") == [first]
    store.commit("a", [second])
    assert store.of("a") == [second]
    assert closed(fd)
    assert accepts(sock)
    assert store.of("b") == store.offers("b") == []


def test_an_address_that_left_the_file_is_refused_only_when_dropped(store, sockets):
    stays, leaves = sockets(), sockets()
    store.commit("a", [kept(stays), kept(leaves)])
    store.commit("a", [kept(stays)])
    assert accepts(leaves)
    store.drop("b")
    assert accepts(leaves)
    store.drop("a")
    assert not accepts(leaves)
    assert accepts(stays)
    assert [entry.key for entry in store.offers("a")] == [net.key_of(stays)]


def test_a_quiet_address_that_left_the_file_is_refused_at_once(store, sockets):
    stays, leaves = sockets(), sockets()
    store.commit("a", [kept(stays, quiet=True), kept(leaves, quiet=True)])
    store.commit("a", [kept(stays, quiet=True)])
    assert not accepts(leaves)
    assert accepts(stays)
    assert [entry.key for entry in store.offers("a")] == [net.key_of(stays)]


def test_quiet_addresses_are_refused_while_their_vassal_sleeps(store, sockets):
    calls, quiet = sockets(), sockets()
    store.commit("a", [kept(calls), kept(quiet, quiet=True)])
    assert [entry.key for entry in store.hush("a")] == [net.key_of(quiet)]
    assert accepts(calls)
    assert not accepts(quiet)
    assert [entry.key for entry in store.offers("a")] == [net.key_of(calls)]
    assert store.hush("a") == []


def test_what_is_quiet_is_known_by_its_address(sockets):
    calls, quiet = sockets(), sockets()
    keys = (net.key_of(calls), net.key_of(quiet))
    found = inspect(
        link.Listening(keys, ("", ""), (keys[1],)), [calls.dup().detach(), quiet.dup().detach()], UID, os.close
    )
    assert [entry.quiet for entry in found] == [False, True]
    for entry in found:
        entry.sock.close()


def test_an_address_that_comes_back_before_it_is_dropped_is_offered_and_taken_back(store, sockets):
    stays, leaves = sockets(), sockets()
    old = kept(leaves)
    fd = old.sock.fileno()
    store.commit("a", [kept(stays), old])
    store.commit("a", [kept(stays)])
    assert [entry.key for entry in store.of("a")] == [net.key_of(stays)], "people see what is served"
    assert [entry.key for entry in store.offers("a")] == [net.key_of(stays), net.key_of(leaves)]
    store.commit("a", [kept(leaves), kept(stays)])
    assert closed(fd)
    store.drop("a")
    assert accepts(leaves)
    assert [entry.key for entry in store.offers("a")] == [net.key_of(leaves), net.key_of(stays)]


def test_an_address_that_left_is_offered_where_nothing_else_is_kept(store, sockets):
    sock = sockets()
    store.commit("a", [kept(sock)])
    store.commit("a", [])
    assert store.of("a") == []
    assert [entry.key for entry in store.offers("a")] == [net.key_of(sock)]
    store.commit("a", [kept(sock)])
    store.drop("a")
    assert accepts(sock)


def test_all_offers_were_held_by_one_user(store, sockets):
    stays, leaves = sockets(), sockets()
    store.commit("a", [kept(leaves, uid=UID + 1)])
    store.commit("a", [kept(stays)])
    assert [entry.uid for entry in store.offers("a")] == [UID]
    store.commit("a", [])
    assert [entry.uid for entry in store.offers("a")] == [UID], "the latest owner's"


def test_no_more_is_offered_than_a_contract_can_carry(store, sockets):
    sock = sockets()
    old = [kept(sock, f"127.0.0.1:{port}") for port in range(1, 1 + link.MAX_LISTENERS)]
    new = [kept(sock, f"127.0.0.1:{port}") for port in range(101, 103)]
    store.commit("a", old)
    store.commit("a", new)
    offers = store.offers("a")
    assert len(offers) == link.MAX_LISTENERS
    assert offers[:2] == new


def test_shut_refuses_on_all_addresses(store, sockets):
    stays, leaves, other = sockets(), sockets(), sockets()
    store.commit("a", [kept(leaves)])
    store.commit("a", [kept(stays)])
    store.commit("b", [kept(other)])
    store.shut("a")
    assert not accepts(stays)
    assert not accepts(leaves)
    assert accepts(other)
    assert store.offers("a") == []


def test_close_all_gives_up_every_listener(sockets):
    gone = []
    store = Store(lambda fd, name: gone.append((fd, name)))
    stays, leaves, other = sockets(), sockets(), sockets()
    store.commit("a", [kept(leaves)])
    store.commit("a", [kept(stays)])
    store.commit("b", [kept(other)])
    store.commit("b", [])
    store.close_all()
    assert sorted(name for _, name in gone) == ["a", "a", "b"]
    assert not any(accepts(sock) for sock in (stays, leaves, other))
    for fd, _ in gone:
        os.close(fd)


def test_a_socket_that_is_shut_already_is_no_error(store, sockets):
    sock = sockets()
    store.commit("a", [kept(sock)])
    sock.shutdown(socket.SHUT_RDWR)
    sock.close()
    store.shut("a")
    assert store.of("a") == []


@pytest.mark.parametrize(
    ("held", "key", "found"),
    [
        ("127.0.0.1:80", "127.0.0.1:80", True),
        ("127.0.0.1:80", "0.0.0.0:80", True),
        ("[::]:80", "127.0.0.1:80", True),
        ("127.0.0.1:80", "127.0.0.1:8080", False),
        ("127.0.0.1:0", "127.0.0.1:0", True),
        ("127.0.0.1:0", "[::1]:0", False),
        ("/run/x:80", "127.0.0.1:80", False),
        ("127.0.0.1:80", "/run/x:80", False),
        ("@x:80", "127.0.0.1:80", False),
        ("/run/x", "/run/x", True),
        ("@x", "@x", True),
    ],
)
def test_who_holds_an_address_or_one_that_overlaps_it(store, sockets, held, key, found):
    store.commit("a", [kept(sockets(), held)])
    assert store.holder(key, "b") == ("a" if found else None)
    store.commit("a", [])  # it has left the file, and is still bound
    assert store.holder(key, "b") == ("a" if found else None)
    assert store.holder(key, "a") is None


def test_who_still_names_an_address_is_its_holder_rather_than_whom_it_left(store, sockets):
    make = functools.partial(kept, sockets(), "127.0.0.1:80")
    store.commit("a", [make()])
    store.commit("a", [])
    store.commit("b", [make()])
    assert store.holder("127.0.0.1:80", "c") == "b"


class Looked:
    """Stands for a kept listener, and counts how often its address is looked at."""

    times = 0
    uid = OURS

    def __init__(self, key, sock):
        self.sock = sock
        self._key = key

    @property
    def key(self):
        Looked.times += 1
        return self._key


def test_the_holder_is_found_without_asking_the_whole_fleet(store, sockets, monkeypatch):
    sock = sockets()
    for number in range(1000):
        store.add(f"v{number}", Looked(f"/run/{number}", sock))
    monkeypatch.setattr(Looked, "times", 0)
    assert store.holder("/run/700", "new") == "v700"
    assert store.holder("/run/1000", "new") is None
    assert Looked.times < 10


NAMED = ("/run/a", "/run/b", "@c", "127.0.0.1:80", "0.0.0.0:80", "[::1]:80", "127.0.0.1:0", "0.0.0.0:81")
KEYS = st.sampled_from(NAMED)
DEED = st.sampled_from(["commit", "shut", "drop", "hush"])
DEEDS = st.tuples(st.sampled_from("abc"), DEED, st.lists(KEYS, max_size=3))


def slow_holder(entries, key, other_than):
    """The same by looking at all."""
    port = key.rpartition(":")[2] if ":" in key and not key.endswith(":0") else None
    return {
        name
        for name, theirs in entries.items()
        if name != other_than
        for entry in theirs
        if entry.key == key or (port and ":" in entry.key and entry.key.rpartition(":")[2] == port)
    }


@given(st.lists(DEEDS, max_size=12), KEYS)
def test_whatever_happened_the_holder_is_one_of_those_that_hold_it(deeds, key):
    store = Store(lambda fd, _name: os.close(fd))
    sock = listener()
    for name, deed, keys in deeds:
        if deed == "commit":
            store.commit(name, [kept(sock, one, quiet=one == "/run/b") for one in dict.fromkeys(keys)])
        else:
            getattr(store, deed)(name)
    everywhere = {name: [*store._kept.get(name, ()), *store._dropped.get(name, ())] for name in "abc"}
    found = store.holder(key, "c")
    expected = slow_holder(everywhere, key, "c")
    assert found in expected if expected else found is None
    store.close_all()
    assert (store._marks, store._holders) == ({}, {})
    sock.close()
