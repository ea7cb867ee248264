"""What the tests of the language share: write files, read them, look at pairs."""

from vassal.config.language import read_configuration


class Place:
    """A directory with configuration files; the main one is app.ini."""

    def __init__(self, root):
        self.root = root

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        return str(path)

    def read(self, text=None, *, name="app.ini", section="", environ=None, **options):
        path = str(self.root / name) if text is None else self.write(name, text)
        return read_configuration(path + section, environ=environ or {}, **options)

    def pairs(self, text=None, **options):
        return [(entry.option, entry.value) for entry in self.read(text, **options).entries]

    def values(self, lines, **options):
        """The values of lines under [uwsgi]."""
        return dict(self.pairs("[uwsgi]\n" + lines, **options))
