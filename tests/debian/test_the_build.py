"""The package as a file: made the same twice, no remark of lintian, holding what it should. Last: it waits longest."""

import hashlib
import os
import re
import subprocess

import pytest

from tests.debian.roots import CLEAN, NAME, RELEASES, execute


def sums(directory):
    kept = [file for file in directory.iterdir() if not file.name.endswith((".changes", ".buildinfo"))]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in kept}


def test_two_builds_are_the_same_to_the_byte(roots):
    first = sums(roots.here())
    assert {name.partition("_")[0] for name in first} == {NAME, f"{NAME}-dbgsym"}
    assert any(".orig-httptools." in name for name in first)
    assert sums(roots.again()) == first


def test_lintian_has_nothing_to_say(roots):
    changes = next(roots.here().glob("*.changes"))
    done = subprocess.run(
        ["lintian", "--allow-root", "--fail-on", "error,warning", "--display-info", changes],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **CLEAN},
    )
    remarks = [line for line in done.stdout.splitlines() if not line.startswith("N:")]
    assert (done.returncode, remarks) == (0, [])


@pytest.mark.parametrize("release", RELEASES)
def test_it_holds_a_parser_for_the_python_of_its_release(roots, release):
    package = roots.package(release)
    listed = execute(["dpkg-deb", "--contents", package])
    tag = RELEASES[release].replace(".", "")
    assert re.search(rf"\./usr/lib/emperor-fleet/httptools/parser/parser\.cpython-{tag}-", listed)
    outside = [line for line in listed.splitlines() if "httptools" in line and "/usr/lib/emperor-fleet/" not in line]
    assert outside == []
    needs = execute(["dpkg-deb", "--field", package, "Depends"])
    assert f"python3 (>= {RELEASES[release]}~)" in needs
    assert "httptools" not in needs


def test_the_one_for_debian_13_counts_as_newer(roots):
    versions = [execute(["dpkg-deb", "--field", roots.package(release), "Version"]).strip() for release in RELEASES]
    execute(["dpkg", "--compare-versions", versions[0], "lt", versions[1]])
