"""Who waits for whose address."""

import pytest

from emperor.hearing import circular


@pytest.mark.parametrize(
    ("blocked", "expected"),
    [
        ({}, False),
        ({"a": "b"}, False),
        ({"a": "b", "b": "c"}, False),
        ({"a": "b", "b": "a"}, True),
        ({"a": "b", "b": "c", "c": "a"}, True),
        ({"a": "b", "b": "c", "c": "b"}, False),
        ({"b": "c", "c": "b"}, False),
    ],
)
def test_a_circle_is_one_that_leads_back(blocked, expected):
    assert circular("a", blocked) is expected
