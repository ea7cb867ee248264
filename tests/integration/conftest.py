"""What tests of a part with real processes share.

The danger here is a fixture that finds another module's bench: so it is made of the `Bench` of the module that asks.
"""

import pytest


@pytest.fixture
def bench(request, monkeypatch, tmp_path):
    """The `Bench` of the test's own module, in tmp_path as the working directory; closed after the test."""
    monkeypatch.chdir(tmp_path)
    made = request.module.Bench(monkeypatch, tmp_path)
    yield made
    made.close()
