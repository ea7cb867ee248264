"""Addresses that one edit moves from vassal to vassal: each ends where its file says, without another touch."""

import pytest

from tests.clients import http_get
from tests.harness import free_port, vassal_text, wait_until, write_app


@pytest.fixture
def sites(emperor, tmp_path):
    """Two vassals that serve, "a" and "b", whose apps say who they are; gives what writes their files."""

    def write(name, *addresses):
        lines = "".join(f"http-socket = {address}\n" for address in addresses)
        emperor.write(name, vassal_text(0, chdir=tmp_path / name).replace("http-socket = 127.0.0.1:0\n", lines))

    def start(**addresses):
        for name, address in addresses.items():
            (tmp_path / name).mkdir()
            write_app(tmp_path / name, "app", name)
            write(name, address)
        for name in addresses:
            emperor.wait_state(name, "running")
        return write

    return start


def asked(address):
    try:
        return http_get(address if address.startswith("/") else ("127.0.0.1", int(address.rpartition(":")[2]))).text
    except OSError as error:
        return repr(error)


def test_an_address_is_passed_on_whoever_is_reloaded_first(emperor, sites):
    shared, own, new = (f"127.0.0.1:{free_port()}" for _ in range(3))
    write = sites(a=shared, b=own)
    write("b", shared)
    wait_until(lambda: emperor.status("b")["last_failure"], 10, "b's failure")
    assert "by vassal a" in emperor.status("b")["last_failure"]["reason"]
    assert [asked(shared), asked(own)] == ["a", "b"], "who serves goes on"
    write("a", new)
    wait_until(lambda: (asked(shared), asked(new)) == ("b", "a"), 20, lambda: f"b to have it: {asked(shared)}")
    row = emperor.wait_state("b", "running")
    assert (row["addresses"], row["last_failure"]) == ([shared], None)


@pytest.mark.parametrize("unix", [False, True])
def test_two_vassals_swap_their_addresses_in_one_edit(emperor, sites, tmp_path, unix):
    first, second = (str(tmp_path / f"{n}.sock") if unix else f"127.0.0.1:{free_port()}" for n in (1, 2))
    write = sites(a=first, b=second)
    write("a", second)
    write("b", first)
    wait_until(lambda: (asked(first), asked(second)) == ("b", "a"), 20, lambda: f"{asked(first)}, {asked(second)}")
    for name in ("a", "b"):
        assert emperor.wait_state(name, "running")["last_failure"] is None
