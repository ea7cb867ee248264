"""A vassal: one configured app, served by a master and its workers.

This package imports the standard library, httptools and setproctitle only: it shares a process with somebody
else's app, and what that app imports must be the app's own. It never imports ``emperor``.
"""

__version__ = "0.1.0"
