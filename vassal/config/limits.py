"""How much a configuration may cost, whoever wrote it.

The one danger is a file that a tenant wrote to keep the reader busy: every loop in this package is bounded by one of
these numbers.
"""

FILE_BYTES = 1 << 20
"""Of one configuration file, included files and their like."""
INCLUDES = 100
"""Configuration files in one load, the main file not counted."""
AT_BYTES = 64 << 10
"""Of a file or command read into a value."""
AT_SECONDS = 2.0
"""For a command read into a value."""
COMMANDS = 20
"""Commands in one load: with `AT_SECONDS` the longest that they can take together."""
ENTRIES = 20_000
"""Lines after loops and includes."""
VALUE_CHARS = 256 << 10
"""Of one value after expansion."""
TOTAL_CHARS = 8 << 20
"""Of all values together, and of all text read into them."""
NAME_CHARS = 1024
"""Between the parentheses of a variable; longer ones are text."""
EXPANSIONS = 1000
"""Variables looked at in one value, those that come out of variables included."""
ALL_EXPANSIONS = 10_000
"""The same in all values together."""
YAML_SECONDS = 5.0
"""For the helper that reads one YAML file."""
