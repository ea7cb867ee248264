"""Cron, without a clock: what is due when, also in the nights when the clock is changed."""

import calendar
import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vassal.cron import Job, of_fields, of_numbers, parse, parse2

BERLIN = ZoneInfo("Europe/Berlin")


def utc(_seconds):
    return 0


def berlin(seconds):
    return int(datetime.fromtimestamp(seconds, BERLIN).utcoffset().total_seconds())


def minute(text, offset=0):
    """Epoch minute of ``2026-03-29 01:30`` on a clock `offset` hours east of UTC."""
    return calendar.timegm(time.strptime(text, "%Y-%m-%d %H:%M")) // 60 - offset * 60


def runs(schedule, first, last, offset=utc):
    return [m for m in range(first, last) if schedule.due(m, offset)]


def local(minutes, zone=BERLIN):
    return [datetime.fromtimestamp(m * 60, zone).strftime("%H:%M") for m in minutes]


DAY = minute("2026-11-24 00:00")  # a Tuesday


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("-1 -1 -1 -1 -1 x", 1440),
        ("-5 -1 -1 -1 -1 x", 288),
        ("-1440 -1 -1 -1 -1 x", 24),
        ("0 3 -1 -1 -1 x", 1),
        ("0 -2 -1 -1 -1 x", 12),
        ("*/5 * * * * x", 288),
        ("0,30 8-10 * * mon-fri x", 6),
        ("10-50/20 */6 * * * x", 12),
        ("0 0 * nov tue x", 1),
        ("0 0 * * 1 x", 0),
        ("@daily x", 1),
        ("@hourly x", 24),
        ("59 23 31 12 -1 x", 0),
    ],
)
def test_how_often_on_a_tuesday(line, expected):
    assert len(runs(parse(line).schedule, DAY, DAY + 1440)) == expected


def days(schedule, month="2026-10"):
    first = minute(f"{month}-01 00:00")
    return [time.gmtime(m * 60).tm_mday for m in runs(schedule, first, first + 31 * 1440) if m % 1440 == 0]


def test_uwsgis_minus_ten_and_crontabs_step_are_different_days():
    assert days(of_numbers(0, 0, -10, -1, -1)) == [10, 20, 30]
    assert days(of_fields(["0", "0", "*/10", "*", "*"])) == [1, 11, 21, 31]


def test_day_and_weekday_are_ored_where_both_are_restricted():
    sundays = [4, 11, 18, 25]
    assert days(of_numbers(0, 0, 1, -1, 0)) == [1, *sundays]
    assert days(of_numbers(0, 0, 1, -1, 7)) == [1, *sundays]
    assert days(of_fields(["0", "0", "1", "*", "sun"])) == [1, *sundays]
    assert days(of_fields(["0", "0", "1", "*", "7"])) == [1, *sundays]
    assert days(of_numbers(0, 0, -1, -1, 0)) == sundays
    assert days(of_fields(["0", "0", "*", "*", "0"])) == sundays
    assert days(of_fields(["0", "0", "1", "*", "*"])) == [1]


@pytest.mark.parametrize(
    "line",
    [
        "61 * * * * x",
        "* 24 * * * x",
        "* * 0 * * x",
        "* * * 13 * x",
        "* * * * 8 x",
        "*/0 * * * * x",
        "5-1 * * * * x",
        "@reboot x",
        "@daily",
        "* * * * *",
        "a * * * * x",
        "1-2-3 * * * * x",
        "*-5 * * * * x",
        " * * * foo * x",
    ],
)
def test_what_is_no_line(line):
    with pytest.raises(ValueError, match=r"expected|no values"):
        parse(line)


def test_cron2_has_names():
    job = parse2({"minute": "30", "unique": "1", "harakiri": "9"}, "backup --all", 60)
    assert job == Job("backup --all", of_numbers(30, -1, -1, -1, -1), unique=True, harakiri=9)
    assert parse2({}, "x", 60).harakiri == 60
    assert not parse2({"unique": "0"}, "x").unique


# --- the nights --------------------------------------------------------------------------------------------------


SPRING = minute("2026-03-29 00:00", 1)  # at 2:00 it is 3:00
AUTUMN = minute("2026-10-25 00:00", 2)  # at 3:00 it is 2:00


def test_a_skipped_hours_jobs_run_once_right_after_it():
    assert local(runs(of_fields(["30", "2", "*", "*", "*"]), SPRING, SPRING + 1380, berlin)) == ["03:00"]
    assert local(runs(of_fields(["0,30", "2", "*", "*", "*"]), SPRING, SPRING + 1380, berlin)) == ["03:00"]
    assert local(runs(of_fields(["0", "3", "*", "*", "*"]), SPRING, SPRING + 1380, berlin)) == ["03:00"]
    assert local(runs(of_fields(["30", "3", "*", "*", "*"]), SPRING, SPRING + 1380, berlin)) == ["03:30"]


def test_a_repeated_hours_jobs_run_once():
    found = runs(of_fields(["30", "2", "*", "*", "*"]), AUTUMN, AUTUMN + 1500, berlin)
    assert local(found) == ["02:30"]
    assert found[0] == minute("2026-10-25 02:30", 2), "in the first of the two"
    assert local(runs(of_fields(["0", "3", "*", "*", "*"]), AUTUMN, AUTUMN + 1500, berlin)) == ["03:00"]


def test_what_runs_every_hour_runs_by_real_time():
    schedule = of_fields(["30", "*", "*", "*", "*"])
    assert len(runs(schedule, SPRING, SPRING + 1380, berlin)) == 23
    assert len(runs(schedule, AUTUMN, AUTUMN + 1500, berlin)) == 25
    assert len(runs(of_fields(["*"] * 5), AUTUMN, AUTUMN + 1500, berlin)) == 1500


# --- the next time -----------------------------------------------------------------------------------------------


def slow(schedule, after, offset, limit):
    return next((m for m in range(after + 1, after + limit) if schedule.due(m, offset)), None)


field_lists = st.tuples(
    st.sampled_from(["*", "*/7", "0", "30", "5,55"]),
    st.sampled_from(["*", "*/5", "0", "2", "3", "1-4"]),
    st.sampled_from(["*", "*/10", "1", "25", "29"]),
    st.sampled_from(["*", "3", "10"]),
    st.sampled_from(["*", "0", "mon-fri"]),
)
starts = st.one_of(
    st.integers(SPRING - 2880, SPRING + 2880), st.integers(AUTUMN - 2880, AUTUMN + 2880), st.integers(DAY, DAY + 1440)
)


@settings(deadline=None)
@given(field_lists, starts)
def test_the_next_time_is_the_next_time_that_is_due(fields, after):
    schedule = of_fields(list(fields))
    found = schedule.next_due(after, berlin)
    expected = slow(schedule, after, berlin, 3 * 1440)
    if expected is not None:
        assert found == expected
    else:
        assert found is None or (found >= after + 3 * 1440 and schedule.due(found, berlin))


def test_the_29th_of_february_is_found_and_the_30th_is_not():
    found = of_numbers(0, 12, 29, 2, -1).next_due(DAY, berlin)
    assert datetime.fromtimestamp(found * 60, BERLIN) == datetime(2028, 2, 29, 12, tzinfo=BERLIN)
    assert of_numbers(0, 12, 30, 2, -1).next_due(DAY, berlin) is None


def test_a_year_of_days_is_a_year_of_runs():
    schedule = of_fields(["30", "2", "*", "*", "*"])
    after, count = minute("2026-01-01 00:00", 1), 0
    while (after := schedule.next_due(after, berlin)) < minute("2027-01-01 00:00", 1):
        count += 1
    assert count == 365
    assert datetime(1970, 1, 1, tzinfo=UTC) + timedelta(minutes=after) > datetime(2027, 1, 1, tzinfo=BERLIN)


class Counting:
    """A zone that counts how often it is asked."""

    def __init__(self, offset):
        self.offset = offset
        self.asked = 0

    def __call__(self, seconds):
        self.asked += 1
        return self.offset(seconds)


@pytest.mark.parametrize("start", [SPRING - 720, SPRING + 130, AUTUMN - 720, AUTUMN + 130, DAY])
@pytest.mark.parametrize("line", ["0 4 * * * x", "30 2 * * * x", "@yearly x", "0 0 29 2 * x", "0 0 30 2 * x"])
def test_the_next_time_is_found_without_walking_through_the_year(line, start):
    zone = Counting(berlin)
    parse(line).schedule.next_due(start, zone)
    assert zone.asked < 100


def test_hours_that_are_named_by_a_step_are_caught_up_and_not_repeated():
    for schedule in (of_fields(["0", "*/2", "*", "*", "*"]), of_numbers(0, -2, -1, -1, -1)):
        found = local(runs(schedule, SPRING, SPRING + 300, berlin))
        assert found == ["00:00", "03:00", "04:00"]
        found = local(runs(schedule, AUTUMN, AUTUMN + 400, berlin))
        assert found == ["00:00", "02:00", "04:00"]
    assert of_fields(["0", "0-23", "*", "*", "*"]).hourly


@pytest.mark.parametrize("line", ["@daily\tx", "0 0\t* * *\tx", "  @daily   x"])
def test_blanks_may_be_tabs(line):
    assert parse(line).command == "x"
    assert parse(line).schedule == parse("@daily x").schedule
