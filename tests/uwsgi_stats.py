"""What uWSGI 2.0.31 prints on its two statistics addresses: every key in its order, with the type of its value.

Recorded from the real program (a vassal with two apps, two threads, a daemon and a cron line, a request under way;
an emperor with one healthy and one failing vassal). Lists hold what each of their items is like.
"""

CORE = {
    "id": int,
    "requests": int,
    "static_requests": int,
    "routed_requests": int,
    "offloaded_requests": int,
    "write_errors": int,
    "read_errors": int,
    "in_request": int,
    "vars": [str],
    "req_info": {"request_start": int},
}
WORKER = {
    "id": int,
    "pid": int,
    "accepting": int,
    "requests": int,
    "delta_requests": int,
    "exceptions": int,
    "harakiri_count": int,
    "signals": int,
    "signal_queue": int,
    "status": str,
    "rss": int,
    "vsz": int,
    "running_time": int,
    "last_spawn": int,
    "respawn_count": int,
    "tx": int,
    "avg_rt": int,
    "apps": [
        {
            "id": int,
            "modifier1": int,
            "mountpoint": str,
            "startup_time": int,
            "requests": int,
            "exceptions": int,
            "chdir": str,
        }
    ],
    "cores": [CORE],
}
VASSAL = {
    "version": str,
    "listen_queue": int,
    "listen_queue_errors": int,
    "signal_queue": int,
    "load": int,
    "pid": int,
    "uid": int,
    "gid": int,
    "cwd": str,
    "daemons": [{"cmd": str, "pid": int, "respawns": int}],
    "locks": [dict],
    "sockets": [{"name": str, "proto": str, "queue": int, "max_queue": int, "shared": int, "can_offload": int}],
    "workers": [WORKER],
    "crons": [
        {
            "minute": int,
            "hour": int,
            "day": int,
            "month": int,
            "week": int,
            "command": str,
            "unique": int,
            "legion": str,
            "pid": int,
            "started_at": int,
        }
    ],
}
EMPEROR = {
    "version": str,
    "pid": int,
    "uid": int,
    "gid": int,
    "cwd": str,
    "emperor": [str],
    "emperor_tyrant": int,
    "throttle_level": int,
    "vassals": [
        {
            "id": str,
            "pid": int,
            "born": int,
            "last_mod": int,
            "last_heartbeat": int,
            "loyal": int,
            "ready": int,
            "accepting": int,
            "last_loyal": int,
            "last_ready": int,
            "last_accepting": int,
            "first_run": int,
            "last_run": int,
            "cursed": int,
            "zerg": int,
            "on_demand": str,
            "uid": int,
            "gid": int,
            "monitor": str,
            "respawns": int,
        }
    ],
    "blacklist": [{"id": str, "throttle_level": int, "attempt": int, "first_attempt": int, "last_attempt": int}],
}
OPTIONAL = {"daemons", "crons", "request_start"}
"""What is there only where there is such a thing."""


def differences(told, recorded, where="$"):
    """Return where `told` is not like `recorded`: a key that is missing, in another order, or of another type.

    Keys of ours may follow uWSGI's.
    """
    if isinstance(recorded, dict):
        if not isinstance(told, dict):
            return [f"{where} is no object"]
        missing = [f"{where}.{key} is missing" for key in recorded if key not in told and key not in OPTIONAL]
        wanted = [key for key in recorded if key in told]
        found = [key for key in told if key in recorded]
        order = [] if list(told)[: len(wanted)] == wanted else [f"{where} has {found}, not {wanted}"]
        inner = [line for key in wanted for line in differences(told[key], recorded[key], f"{where}.{key}")]
        return missing + order + inner
    if isinstance(recorded, list):
        if not isinstance(told, list):
            return [f"{where} is no list"]
        return [line for at, one in enumerate(told) for line in differences(one, recorded[0], f"{where}[{at}]")]
    return [] if type(told) is recorded else [f"{where} is {told!r}, no {recorded.__name__}"]
