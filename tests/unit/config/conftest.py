import pytest

from tests.unit.config.language import Place


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path.resolve())
