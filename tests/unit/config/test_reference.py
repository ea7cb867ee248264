"""The reference page: made from the tables, and never stale."""

import re
from collections import Counter

import pytest

from emperor import reference
from tests.harness import ROOT
from vassal.config.option import VERDICTS

PAGE = ROOT / "docs" / "options.md"


def test_the_page_is_what_the_tables_say():
    assert PAGE.read_text() == reference.page(), "docs/options.md is stale: python -m emperor.reference docs/options.md"


def test_it_opens_with_the_count_by_verdict():
    known = reference.verdicts()
    counts = Counter(row.verdict for row in known.values())
    head = reference.page().split("\n# ", 2)[0]
    assert f"Of {len(known)} names" in head
    for verdict in VERDICTS:
        assert re.search(rf"^\| {verdict} \| {counts[verdict]} \|", head, re.MULTILINE)


def test_every_name_stands_on_the_page():
    text = reference.page()
    for name in reference.verdicts():
        assert f"`{name}`" in text, name


def test_every_row_has_the_columns_of_its_table():
    columns = 0
    for line in reference.page().splitlines():
        if not line.startswith("|"):
            columns = 0
            continue
        cells = len(re.findall(r"(?<!\\)\|", line))
        assert cells == (columns or cells), line
        columns = cells


def test_written_to_a_file_or_to_the_terminal(tmp_path, capsys):
    path = tmp_path / "options.md"
    assert reference.main([str(path)]) == 0
    assert path.read_text() == reference.page()
    assert [entry.name for entry in tmp_path.iterdir()] == ["options.md"]
    assert reference.main([]) == 0
    assert capsys.readouterr().out == reference.page()


@pytest.mark.parametrize("arguments", [["a", "b"], ["a", "b", "c"]])
def test_wrong_usage(arguments, capsys):
    assert reference.main(arguments) == 2
    assert "usage" in capsys.readouterr().err
