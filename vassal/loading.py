"""What happens in a master before its first worker: the hooks around the app, the app, a heap that can be shared.

The one danger is time: this blocks, and may. Nobody is served by this generation yet, and the emperor bounds it.
"""

from __future__ import annotations

import gc
import threading
from typing import TYPE_CHECKING

from vassal import autoreload, embedded, logs
from vassal.hooks import HookError
from vassal.loader import LoadError, load_apps
from vassal.logbook.outlet import PUMP

if TYPE_CHECKING:
    from vassal.config import Settings
    from vassal.loader import Apps
    from vassal.masterhooks import MasterHooks


def load(settings: Settings, hooks: MasterHooks, *, lazy: bool) -> Apps | None:
    """Return the apps, or None where the workers load them (`lazy`).

    Raises:
        LoadError: the app, or a hook.
    """
    try:
        hooks.run("pre-app")
        apps = None
        if not lazy:
            apps = load_apps(settings)
            autoreload.loaded(settings)
            hooks.run("post-app")
        hooks.run("master-start")
    except HookError as error:
        raise LoadError(str(error), error.detail, "hook") from None
    embedded.share()
    if apps is not None:
        gc.collect()
        gc.freeze()  # the workers share what was loaded: a collection must not write to it
    started = sum(thread.name != PUMP for thread in threading.enumerate()) - 1
    if apps is not None and started:
        logs.say(
            f"the app started {started} threads while it was loaded; they do not exist in the "
            "workers (lazy-apps = true loads the app in each worker instead)"
        )
    return apps
