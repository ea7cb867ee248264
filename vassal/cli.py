"""The command ``vassal``: one vassal in the foreground, without an emperor.

click reads the arguments; then this process is replaced by one that has never seen click, so that the app's own is the
only one it can meet. The one danger is anything that would have to survive that replacement: only the contract does.
"""

from __future__ import annotations

import os
import sys

import click

from vassal import __version__, link, moving, streams


def _pairs(
    _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    pairs = []
    for value in values:
        key, equals, rest = value.partition("=")
        if not equals or not key.strip():
            raise click.BadParameter(f"{value!r} is not KEY=VALUE")
        pairs.append((key.strip(), rest.strip()))
    return tuple(pairs)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", type=click.Path(dir_okay=False))
@click.option(
    "--set", "sets", metavar="KEY=VALUE", multiple=True, callback=_pairs, help="Set an option before the file's."
)
@click.version_option(__version__, "--version", prog_name="vassal")
def main(file: str, sets: tuple[tuple[str, str], ...]) -> None:
    """Serve the one app that FILE configures, in the foreground.

    SIGTERM and SIGINT finish what runs and exit, SIGHUP finishes what runs and starts anew without closing the
    listeners, SIGQUIT exits at once.
    """
    from vassal.config import Inject  # noqa: PLC0415 (--help must not load the parser)

    streams.hold()
    try:
        path = os.path.abspath(file)
    except FileNotFoundError:  # of getcwd(2)
        raise click.ClickException("the current directory is gone: cd elsewhere") from None
    if not os.path.exists(path):
        raise click.UsageError(f"there is no file {file}")
    name = os.path.splitext(os.path.basename(path))[0]
    found = os.stat(path)
    contract = link.Contract(
        purpose="serve",
        name=name,
        generation=1,
        source=path,
        version=(found.st_mtime_ns, found.st_ino, found.st_size, found.st_uid, found.st_gid),
        inject=Inject(sets=sets).to_json(),
    )
    if sys.stdout is not None:
        sys.stdout.flush()
    moving.alone(contract)


if __name__ == "__main__":
    main()
