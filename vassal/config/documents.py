"""Json and yaml text to the same lines that ini text gives.

The one thing that can go wrong here is yaml's reader: the vassal must never import one beside the app's own, so a
short-lived process of the same interpreter does it and prints json.
"""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any

from vassal.config import bounded
from vassal.config.errors import ConfigError
from vassal.config.limits import YAML_SECONDS
from vassal.config.lines import Lines, checked

if TYPE_CHECKING:
    from collections.abc import Collection

    from vassal.config.lines import Fill

YAML_OUTPUT = 4 << 20

YAML_HELPER = r"""
import json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
def leave(**answer):
    json.dump(answer, sys.stdout)
    raise SystemExit
try:
    import yaml
except ImportError:
    leave(missing=True)
class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    pass
def pairs(node, what):
    if isinstance(node, yaml.ScalarNode) and node.value in ("", "~", "null"):
        return []
    if not isinstance(node, yaml.MappingNode):
        leave(error=what + " must hold 'option: value' lines", line=node.start_mark.line + 1)
    return node.value
def text(node, key):
    if not isinstance(node, yaml.ScalarNode):
        leave(error="the value of %r must be a text or a list of texts" % key, line=node.start_mark.line + 1)
    return "" if node.tag.endswith(":null") else node.value
try:
    loader = Loader(sys.stdin.buffer.read().decode("utf-8", "replace"))
    root = loader.get_single_node()
    rows = []
    for name, section in pairs(root, "the file") if root is not None else []:
        rows.append([text(name, ""), "", "", 0])
        if name.value not in sys.argv[1:]:
            continue
        if isinstance(section, yaml.MappingNode):
            loader.flatten_mapping(section)
        for key, value in pairs(section, "the section " + repr(name.value)):
            option = text(key, "")
            many = value.value if isinstance(value, yaml.SequenceNode) else [value]
            for one in many:
                rows.append([text(name, ""), option, text(one, option), one.start_mark.line + 1])
            if len(rows) > 20000:
                leave(error="more than 20000 options", line=1)
    leave(rows=rows)
except yaml.YAMLError as error:
    mark = getattr(error, "problem_mark", None)
    leave(error=getattr(error, "problem", None) or str(error), line=mark.line + 1 if mark else None)
except (MemoryError, RecursionError):
    leave(error="too deep or too large", line=None)
"""
"""Reads yaml from standard input, the sections in its arguments; prints rows of [section, option, value, line], or an
error. Values stay as written: ``0644`` and ``on`` mean here what they mean in an ini file."""

BARE = re.compile(r"^(\s*(?:- )?(?:[\w-]+:\s+)?)([%@]\S.*?)(\s+#.*)?\s*$", re.ASCII)
"""A value that begins with a character that yaml reserves, but uWSGI's files use: it is put in quotes."""


def parse_json(file: str, text: str, wanted: Collection[str], fill: Fill) -> Lines:
    """Read a json object of sections, each an object of options; lists give one line for each member.

    As under uWSGI true is ``1``; false and null are ``0``. Lines are found by looking for the keys in the text.

    Raises:
        ConfigError: not json, or of another shape.
    """
    try:
        root = json.loads(text, object_pairs_hook=Members, parse_int=str, parse_float=str, parse_constant=str)
    except json.JSONDecodeError as error:
        raise _error(file, error.lineno, f"this is not json: {error.msg}") from None
    except RecursionError:
        raise _error(file, None, "this json is too deep") from None
    if not isinstance(root, Members):
        raise _error(file, 1, 'a json configuration is an object: {"uwsgi": {"option": "value"}}')
    finder = _Finder(text)
    rows: list[tuple[str, str, int]] = []
    seen = set()
    for section, body in root:
        seen.add(section)
        finder.line(section)
        if section not in wanted:
            continue
        if not isinstance(body, Members):
            raise _error(file, finder.at, f"the section {section!r} must be an object of options")
        for option, value in body:
            line = finder.line(option)
            many = value if isinstance(value, list) and not isinstance(value, Members) else [value]
            rows += [(option, _text(file, line, option, one), line) for one in many]
    return Lines(checked(rows, file, fill), [], frozenset(seen))


class Members(list[tuple[str, Any]]):
    """A json object as pairs: a key may stand there twice."""


class _Finder:
    """Walks through the text from key to key, to know their lines; what it cannot find has the line before."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._misses = 100
        self.at = 1

    def line(self, key: str) -> int:
        # A key that is spelled with escapes is not found; many of them must not make us read all the text each time.
        found = self._text.find(f'"{key}"', self._position) if self._misses else -1
        if found < 0:
            self._misses -= bool(self._misses)
        else:
            self.at += self._text.count("\n", self._position, found)
            self._position = found + 1
        return self.at


def _text(file: str, line: int, option: str, value: object) -> str:
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return "1" if value else "0"
    raise _error(file, line, f"the value of {option!r} must be a text, a number, true, false or a list")


def parse_yaml(file: str, text: str, wanted: Collection[str], fill: Fill) -> Lines:
    """Read a yaml mapping of sections in a process of its own; see `YAML_HELPER`.

    Raises:
        ConfigError: not yaml, of another shape, PyYAML is missing, or reading took more than `YAML_SECONDS`.
    """
    source = "\n".join(BARE.sub(_quote, row) if "%" in row or "@" in row else row for row in text.split("\n"))
    argv = (sys.executable, "-I", "-c", YAML_HELPER, *wanted)
    try:
        status, output = bounded.run(
            argv, seconds=YAML_SECONDS, size=YAML_OUTPUT, stdin=source.encode("utf-8", "surrogateescape")
        )
        answer = json.loads(output)
    except bounded.BoundsError as error:
        raise _error(file, None, f"the yaml reader {error}") from None
    except ValueError:
        raise _error(file, None, f"the yaml reader failed with status {status}") from None
    if "missing" in answer:
        message = f"yaml needs PyYAML beside {sys.executable}: install emperor-fleet[yaml], or write the file as ini"
        raise _error(file, None, message)
    if "error" in answer:
        raise _error(file, answer["line"], f"this is not a yaml configuration: {answer['error']}")
    rows = [(option, value, line) for section, option, value, line in answer["rows"] if option and section in wanted]
    return Lines(checked(rows, file, fill), [], frozenset(row[0] for row in answer["rows"]))


def _quote(match: re.Match[str]) -> str:
    head, value, rest = match.groups()
    return f"{head}'{value.replace(chr(39), chr(39) * 2)}'{rest or ''}"


def _error(file: str, line: int | None, message: str) -> ConfigError:
    return ConfigError(file=file, line=line, option=None, message=message)
