"""Dates of HTTP: the forms of RFC 9110 section 5.6.7, and nothing else."""

import time
from email.utils import formatdate, parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vassal import httpdate

MOMENT = 784111777
"""The example of the RFC."""


@pytest.mark.parametrize(
    "text",
    ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"],
)
def test_the_three_forms_are_read(text):
    assert httpdate.read(text) == MOMENT


@given(st.integers(0, 253402300799))
def test_what_is_written_is_what_python_writes_and_is_read_again(second):
    text = httpdate.written(second)
    assert text == formatdate(second, usegmt=True)
    assert httpdate.read(text) == second == int(parsedate_to_datetime(text).timestamp())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "784111777",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 CET",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 nov 1994 08:49:37 GMT",
        "Sun, 32 Nov 1994 08:49:37 GMT",
        "Wed, 29 Feb 1995 08:49:37 GMT",
        "Thu, 29 Feb 1900 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun, \u06606 Nov 1994 08:49:37 GMT",
    ],
)
def test_what_is_no_date_of_http_is_none(text):
    assert httpdate.read(text) is None


def test_a_year_of_two_digits_is_never_more_than_fifty_years_ahead():
    year = time.gmtime().tm_year
    for ahead in (0, 49, 50, 51, 99):
        text = f"Sunday, 06-Nov-{(year + ahead) % 100:02} 08:49:37 GMT"
        expected = year + ahead if ahead <= 50 else year + ahead - 100
        assert time.gmtime(httpdate.read(text)).tm_year == expected
