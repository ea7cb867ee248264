"""What the tests with real apps share: the apps' environment, their vassal files, and a browser's manners."""

import hashlib
import os
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.cookiejar import CookieJar
from pathlib import Path

import pytest

from tests.e2e.realm import Realm
from tests.harness import ROOT, EmperorProcess, unavailable, write_app

EXAMPLES = ROOT / "examples"
MEGABYTE = 1 << 20

PROBE = f"""
import sys, celery, django, flask, whitenoise
sys.exit(sys.version_info[:2] != {sys.version_info[:2]})
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A directory with the app of `write_app`, which answers "one"."""
    directory = tmp_path / "app"
    directory.mkdir()
    write_app(directory, "app", "one")
    return directory


@pytest.fixture(scope="session")
def apps_env() -> Path:
    """The virtual environment that holds Flask, Django and Celery, for this version of Python."""

    def fits(prefix: Path) -> bool:
        python = prefix / "bin" / "python"
        return (
            python.exists() and subprocess.run([python, "-c", PROBE], capture_output=True, check=False).returncode == 0
        )

    prefix = next(filter(fits, (ROOT / ".venv-apps", Path(sys.prefix))), None)
    return prefix or unavailable(
        "needs Flask, Django and Celery in .venv-apps: run the tests by `make test`, which makes it"
    )


@dataclass(frozen=True)
class Sites:
    """Writes the vassal files of the real apps; every one keeps its data below the test's own directory."""

    emperor: EmperorProcess
    env: Path

    def drop(self, name: str, address: str, app: Path, module: str, **options: object) -> None:
        """Drop a vassal and wait until it runs. ``address`` is a whole ini line, as in ``http-socket = …``."""
        lines = ["[uwsgi]", address, f"chdir = {app}", f"module = {module}", f"virtualenv = {self.env}"]
        lines += [f"env = EXAMPLES_STATE={self.state}", f"env = TRANSFER_NAME={name}"]
        lines += [f"env = TRANSFER_FILE={self.file}"]
        lines += [f"{key} = {value}" for key, value in options.items()]
        self.emperor.write(name, "\n".join(lines) + "\n")
        self.emperor.wait_state(name, "running", deadline=60)

    @property
    def state(self) -> Path:
        return self.emperor.directory / "state"

    @property
    def file(self) -> Path:
        return self.emperor.directory / "large.bin"

    def blog(self, address: str, **options: object) -> None:
        self.drop("blog", address, EXAMPLES / "apps" / "flask_blog", "blog:app", **options)

    def shop(self, address: str, **options: object) -> None:
        """The Django shop, with its database, the user demo and three products."""
        self.state.mkdir(exist_ok=True)
        app = EXAMPLES / "apps" / "django_shop"
        command = [self.env / "bin" / "python", "-B", "manage.py", "prepare_demo"]
        subprocess.run(command, cwd=app, env={**os.environ, "EXAMPLES_STATE": str(self.state)}, check=True, timeout=60)
        self.drop("shop", address, app, "shop.wsgi:application", **options)

    def transfer(self, address: str, **options: object) -> None:
        self.drop("transfer", address, ROOT / "tests" / "e2e" / "apps", "transfer:app", **options)

    def large_file(self, megabytes: int) -> str:
        """Write the file that the transfer app sends; return its sha256."""
        digest = hashlib.sha256()
        with self.file.open("wb") as file:
            for _ in range(megabytes):
                block = os.urandom(MEGABYTE)
                digest.update(block)
                file.write(block)
        return digest.hexdigest()


@pytest.fixture
def sites(emperor: EmperorProcess, apps_env: Path) -> Sites:
    return Sites(emperor, apps_env)


class Browser:
    """Keeps cookies, follows redirects, and sends the CSRF token that it was given."""

    def __init__(self, port: int) -> None:
        self.base = f"http://127.0.0.1:{port}"
        self.jar = CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self.jar)
        )
        self.status = 0
        self.url = ""

    def _open(self, request: urllib.request.Request) -> str:
        try:
            with self._opener.open(request, timeout=30) as answer:
                self.status, self.url = answer.status, answer.url
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                self.status, self.url = error.code, error.url
                return error.read().decode()

    def get(self, path: str) -> str:
        return self._open(urllib.request.Request(self.base + path))

    def post(self, path: str, *, csrf: bool = True, **form: str) -> str:
        token = next((cookie.value for cookie in self.jar if cookie.name == "csrftoken"), None)
        if csrf and token is not None:
            form["csrfmiddlewaretoken"] = token
        return self._open(urllib.request.Request(self.base + path, urllib.parse.urlencode(form).encode()))

    def log_in(self, password: str = "demo") -> str:
        """Log in to Django's admin; return the page that follows."""
        self.get("/admin/login/?next=/admin/")
        return self.post("/admin/login/?next=/admin/", username="demo", password=password, next="/admin/")


@pytest.fixture
def browser() -> Callable[[int], Browser]:
    return Browser


@pytest.fixture
def make_realm(open_path, users, start_emperor):
    """A factory: `make_realm(places=None, **settings)`; an underscore in a setting's name is a dash."""

    def make(places: list[Path] | None = None, **settings: object) -> Realm:
        named = {key.replace("_", "-"): str(value) for key, value in settings.items()}
        return Realm(start_emperor(open_path, places=places, settings=named), users)

    return make


@pytest.fixture
def realm(make_realm):
    return make_realm()


@pytest.fixture
def tyrant(make_realm):
    return make_realm(emperor_tyrant="true")
