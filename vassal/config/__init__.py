"""The configuration: from a vassal's file, and what it includes, to typed settings.

The language is uWSGI's, with its mistakes told instead of swallowed; the options stand in one table. What a start does
not need (the names that are accepted or refused, YAML, guesses at what was meant) is loaded when it occurs.
"""

from vassal.config.errors import ConfigError, Note
from vassal.config.inject import Inject
from vassal.config.language import Entry
from vassal.config.load import Loaded, load_vassal
from vassal.config.reader import default_reader
from vassal.config.settings import Settings, SocketSpec

__all__ = [
    "ConfigError",
    "Entry",
    "Inject",
    "Loaded",
    "Note",
    "Settings",
    "SocketSpec",
    "default_reader",
    "load_vassal",
]
