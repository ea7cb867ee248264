"""``uwsgidecorators``: those that have a meaning here.

The one danger is a decorator that does nothing: the others are not there, and say why.
"""

from __future__ import annotations

import functools
import sys
import threading
from typing import TYPE_CHECKING, Any

from vassal import logs

if TYPE_CHECKING:
    from collections.abc import Callable

uwsgi: Any = sys.modules["uwsgi"]  # `vassal.embedded` has put it there
postfork_chain: list[Callable[[], Any]] = []


def postfork_chain_hook() -> None:
    """Call all that want to be called in each worker."""
    for function in postfork_chain:
        function()


uwsgi.post_fork_hook = postfork_chain_hook


def postfork(what: Callable[[], Any] | int) -> Callable[..., Any]:
    """Call a function in each worker, once its app is loaded; with a number only in the worker of that number."""
    if callable(what):
        postfork_chain.append(what)
        return what

    def only(function: Callable[[], Any]) -> Callable[[], Any]:
        postfork_chain.append(lambda: function() if uwsgi.worker_id() == what else None)
        return function

    return only


def lock(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let only one of all workers' threads be in `function`."""

    @functools.wraps(function)
    def locked(*args: Any, **kwargs: Any) -> Any:
        uwsgi.lock()
        try:
            return function(*args, **kwargs)
        finally:
            uwsgi.unlock()

    return locked


def thread(function: Callable[..., Any]) -> Callable[..., threading.Thread]:
    """Run `function` in a thread of its own when it is called."""

    @functools.wraps(function)
    def started(*args: Any, **kwargs: Any) -> threading.Thread:
        new = threading.Thread(target=function, args=args, kwargs=kwargs, daemon=True)
        new.start()
        return new

    return started


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    why = f"uwsgidecorators.{name} is not offered: use cron = … or attach-daemon in the vassal's file"
    logs.say(why)  # `from … import` hides what is raised here
    raise AttributeError(why)
