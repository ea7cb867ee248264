"""The words of the language itself, and the switches that speak to its reader.

Rows only: nothing here can go wrong but text.
"""

from __future__ import annotations

from vassal.config.option import Option, option
from vassal.config.types import FLAG, PATH, TEXTS


def _word(name: str, text: str, *aliases: str) -> Option:
    return Option(name, None, text, aliases=aliases)


OPTIONS: tuple[Option, ...] = (
    _word("ini", "read an ini file, or with :SECTION another section, at this place"),
    _word("yaml", "read a YAML file at this place", "yml"),
    _word("json", "read a JSON file at this place", "js"),
    _word("include", "read a file at this place; its extension says the format", "config"),
    _word("inherit", "read a file after the end of this one"),
    _word("inject-before", "put the text of a file in front of every file that is read from here on"),
    _word("inject-after", "put the text of a file behind every file that is read from here on"),
    _word("set", "set an option or placeholder, NAME=VALUE"),
    _word("set-placeholder", "set a placeholder, NAME=VALUE", "set-ph"),
    _word("for", "repeat each line up to endfor for every word; %(_) is the word"),
    _word("for-glob", "the same for every path that matches"),
    _word("for-times", "the same for 1, 2, 3 … N"),
    _word("for-readline", "the same for every line of a file"),
    _word("endfor", "end of a loop", "end-for", "end"),
    _word("if-env", "up to endif: if the variable is set, or is VALUE in NAME=VALUE", "ifenv"),
    _word("if-not-env", "up to endif: if it is not"),
    _word("if-opt", "up to endif: if the option was set above, or is VALUE in NAME=VALUE"),
    _word("if-not-opt", "up to endif: if it was not"),
    _word("if-exists", "up to endif: if the path exists", "ifexists"),
    _word("if-not-exists", "up to endif: if it does not"),
    _word("if-file", "up to endif: if the path is a file"),
    _word("if-not-file", "up to endif: if it is not"),
    _word("if-dir", "up to endif: if the path is a directory", "ifdir", "if-directory"),
    _word("if-not-dir", "up to endif: if it is not"),
    _word("if-hostname", "up to endif: if the host has this name"),
    _word("if-not-hostname", "up to endif: if it has not"),
    _word("if-reload", "up to endif: if this is a reload"),
    _word("if-not-reload", "up to endif: if this is a first start"),
    _word("if-plugin", "up to endif: if the plugin's work is done here (python, http)", "ifplugin"),
    _word("if-not-plugin", "up to endif: if it is not"),
    _word("else", "the other lines of an if block"),
    _word("endif", "end of an if block", "end-if"),
    option("strict", FLAG, "an unknown option is an error"),
    option("ignore-refused", TEXTS, "names of refused options that are to be ignored, with a warning", own=True),
    option("fallback-config", PATH, "read this file instead if this one cannot be used"),
    option("show-config", FLAG, "write the options that apply to the log at start"),
    option("print", TEXTS, "write this to the log at start", "iprint", field="print_lines"),
)
