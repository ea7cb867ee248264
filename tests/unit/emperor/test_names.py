"""Names: the stem, or the shortest path that tells a file apart, and never another afterwards."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emperor.names import Namer, file_name, printable
from emperor.places import EXTENSIONS


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/e/blog.ini"], ["blog"]),
        (["/e/blog.prod.yaml"], ["blog.prod"]),
        (["/blog.ini"], ["blog"]),
        (["/e/a/blog.ini", "/e/b/blog.ini"], ["blog", "b/blog"]),
        (["/x/b/blog.ini", "/e/b/blog.ini"], ["blog", "e/b/blog"]),
        (["/e/blog.ini", "/e/blog.yaml", "/e/blog.json"], ["blog", "blog.yaml", "blog.json"]),
        (["/e/a/blog.ini", "/e/b/blog.yaml"], ["blog", "b/blog"]),
        (["/a/blog.ini", "/blog.ini"], ["blog", "blog.ini"]),
    ],
)
def test_the_later_arrival_gets_the_shortest_path_that_tells_it_apart(paths, names):
    namer = Namer()
    assert [namer.name(path) for path in paths] == names


def test_an_extra_extension_is_cut_off_too():
    assert Namer((*EXTENSIONS, ".conf")).name("/e/blog.conf") == "blog"


def test_a_name_stays_when_the_reason_for_it_has_gone():
    namer = Namer()
    first, second = namer.name("/a/blog.ini"), namer.name("/b/blog.ini")
    namer.release(first)
    assert namer.name("/b/blog.ini") == second == "b/blog"
    assert namer.name("/c/blog.ini") == "blog"


def test_a_released_path_gets_its_name_back_if_that_is_free():
    namer = Namer()
    namer.name("/a/blog.ini")
    namer.release("blog")
    namer.release("blog")
    assert namer.path("blog") is None
    assert namer.name("/a/blog.ini") == "blog"
    assert namer.path("blog") == "/a/blog.ini"


def test_what_does_not_print_is_escaped():
    assert printable("a\nb\x1b[2J") == "a\\nb\\x1b[2J"
    assert printable(os.fsdecode(b"caf\xe9")) == "caf\\udce9"
    assert printable("café 1") == "café 1"
    assert Namer().name("/e/evil\n.ini") == "evil\\n"


def test_no_two_names_are_one_file():
    names = ["a/b", "a-b", "a%2Fb", "a%b", "a/%2F", "blog"]
    files = [file_name(name) for name in names]
    assert len(set(files)) == len(names)
    assert not any("/" in name for name in files)
    assert files[-1] == "blog"


_parts = st.sampled_from(["a", "b", "blog", "a.b", "\n", "\\n"])
_paths = st.builds(
    lambda parts, ext: "/" + "/".join(parts) + ext,
    st.lists(_parts, min_size=1, max_size=4),
    st.sampled_from([*EXTENSIONS, ".conf"]),
)


@given(st.lists(st.tuples(_paths, st.booleans()), max_size=25))
def test_names_are_unique_printable_and_never_change_while_they_are_held(steps):
    namer = Namer()
    held: dict[str, str] = {}
    for path, release in steps:
        name = namer.name(path)
        assert held.get(path, name) == name
        assert name
        assert name.isprintable()
        held[path] = name
        assert len(set(held.values())) == len(held)
        if release:
            namer.release(name)
            del held[path]
