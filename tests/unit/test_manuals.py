"""The manual pages hold what `--help` and the option tables say, in a form that man shows whole."""

import importlib.util
import re
import shutil
import subprocess

import pytest

from emperor import cli
from emperor.options import OPTIONS
from emperor.reference import FAMILIES
from tests.harness import ROOT, unavailable
from vassal.config.option import SUPPORTED

spec = importlib.util.spec_from_file_location("manuals", ROOT / "packaging" / "manuals.py")
manuals = importlib.util.module_from_spec(spec)
spec.loader.exec_module(manuals)


def shown(name):
    """The page without roff's marks."""
    text = "\n".join(manuals.PAGES[name]())
    for mark, meaning in (("\\-", "-"), ("\\e", "\\"), ("\\(ga", "`"), ("\\(ha", "^"), ("\\(ti", "~")):
        text = text.replace(mark, meaning)
    return re.sub(r"\\f[A-Z]|^\.(PP|TP|SS|SH)\s?|\\&", "", text, flags=re.MULTILINE)


def test_each_command_and_each_of_its_options_is_there():
    page = shown("emperor")
    for name, command in cli.main.commands.items():
        assert f"emperor {name} " in page
        assert " ".join(command.help.split("\n\n")[0].split()) in page
        for option in command.params:
            if option.param_type_name == "option":
                assert option.opts[-1] in page
                assert option.help in page


def test_each_option_of_the_tables_is_there_with_its_help():
    page = shown("emperor.ini").splitlines()
    rows = [*OPTIONS, *(row for _, family in FAMILIES for row in family)]
    counted = [row for row in rows if row.verdict == SUPPORTED]
    assert len(counted) > 150
    for row in counted:
        terms = [at for at, line in enumerate(page) if line == row.name or line.startswith(f"{row.name} = ")]
        assert any(page[at + 1].startswith(row.help.rstrip(".")) for at in terms), row.name


def test_no_text_is_taken_for_a_request():
    assert manuals._text(".TH is\n'quoted' \\ a-b") == "\\&.TH is\n\\&'quoted' \\e a\\-b"
    for page in manuals.PAGES.values():
        for line in page():
            assert re.match(r"\.(TH|SH|SS|PP|TP|BR|B)\b|[^.']", line), line


@pytest.mark.parametrize("name", manuals.PAGES)
def test_groff_has_nothing_to_say(name):
    if shutil.which("groff") is None:
        unavailable("needs groff: apt install groff-base")
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-Kutf8"],
        input="\n".join(manuals.PAGES[name]()) + "\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "SEE ALSO" in re.sub(r"\x1b\[[0-9;]*m|.\x08", "", done.stdout)
