"""The zone that cron goes by, however it is named."""

import os
import time

import pytest

from vassal import zone
from vassal.config.settings import Settings

SUMMER = 1_782_000_000  # June 2026


@pytest.fixture(autouse=True)
def own_zone(monkeypatch):
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("name", "hours"),
    [
        ("Europe/Berlin", 2),
        (":Europe/Berlin", 2),
        ("/usr/share/zoneinfo/Europe/Berlin", 2),
        ("UTC", 0),
        ("CET-1CEST,M3.5.0,M10.5.0/3", 2),
        ("XYZ-5", 5),
        ("No/Such/Zone", 0),
        ("../etc/passwd", 0),
    ],
)
def test_names_paths_and_rules(monkeypatch, name, hours):
    if name.startswith("/") and not os.path.exists(name):
        pytest.skip("no zones on this machine")
    monkeypatch.setenv("TZ", name)
    time.tzset()
    assert zone.offset()(SUMMER) == hours * 3600


def test_the_vassals_file_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert zone.offset(zone.named(Settings(env=(("TZ", "UTC"), ("TZ", "Europe/Berlin")))))(SUMMER) == 7200
    assert zone.offset(zone.named(Settings()))(SUMMER) == 9 * 3600
    assert zone.named(Settings(unenv=("TZ",))) == ""
