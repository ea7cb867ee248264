"""One turn of one vassal's life: the operations that the lifecycle's handlers are made of.

A `Turn` takes a vassal's record, changes it, and collects actions. The danger here: a change that leaves a vassal
without a deadline, or a process without anybody who waits for it. So a generation leaves only by `retire`, `release`,
`bow_out`, `tidy_up` and `drop_coming`, which arm mercy, and a vassal rests only by `back_off` and `give_up`, which arm
the retry, or parked, where the next caller wakes it.
"""

from __future__ import annotations

from dataclasses import replace

from emperor import throttle
from emperor.ledger import MOST_LEAVING, Ledger
from emperor.states import (
    CHAIN,
    DRAIN,
    OVERLAP,
    Alarm,
    Commit,
    Dequeue,
    Enqueue,
    Generation,
    Kill,
    Leaving,
    Outcome,
    Parking,
    Phase,
    Purpose,
    Send,
    ShutListeners,
    Spawn,
    State,
)
from vassal import link

GRACE = 2.0
"""Seconds beyond mercy before SIGKILL: the master kills its workers at mercy, and needs a moment to end itself."""
KILL_PATIENCE = 5.0
"""Seconds after SIGKILL in which to be gone. A process that hangs in the kernel (dead NFS) stops no successor."""
SUPERSEDE = 5.0
"""Seconds that a start may still take after a touch: most are ready by then, and a slow one is out of date anyway."""
BROKEN_RETRY = 60.0
"""Seconds after which a broken vassal is tried again: what it lacks may have been installed meanwhile."""
CHAIN_PATIENCE = 3600.0
"""Seconds in which a chain of replacements has to end: its master bounds each of them, so this only guards the word."""
EARLY = 0.5
"""Seconds after ready in which nobody can have become idle: parking so early is no rest but a failed start."""
JOBS_RETRY = 60.0
"""Seconds after which cron jobs that could not be run are tried again: the next minute."""
TIDY_PATIENCE = 5
"""Seconds in which a vassal's socket files have to be removed, beyond the mercy of its smart daemons."""
BROKEN_STAGES = frozenset({"config", "identity", "interpreter", "hook", "load", "ready", "manifest"})
"""Stages that a new try alone does not mend; the others may pass (a port that is taken, no memory to fork)."""


class Turn(Ledger):
    """What can be done with a vassal, in the words of the lifecycle."""

    __slots__ = ()

    # --- towards a start -----------------------------------------------------------------------------------------

    def want(self) -> None:
        """A new generation of the newest manifest is wanted: go as far towards it as can be gone now.

        Where a leaving generation is in the way, the state alone (reloading, or stopping) keeps the wish, and `proceed`
        comes back here.
        """
        vassal = self.vassal
        self.disarm(Alarm.RETRY)
        if vassal.manifest.problem is not None:
            self.refuse(vassal.manifest.problem)
        elif vassal.serving is not None:
            strategy = vassal.strategy or vassal.serving.strategy
            if strategy == DRAIN:
                self.drain()
            elif strategy == CHAIN:
                self.chain()
            else:
                if self.crowded and vassal.state is not State.RELOADING:
                    self.say(f"{MOST_LEAVING} old generations still answer: the reload waits until one has ended")
                self.change(state=State.RELOADING)
                if self.clear and not self.crowded:
                    self.enqueue()
        elif self.clear and vassal.listens:
            self.enqueue()
        elif self.clear and vassal.shut:
            # Another user may start next, who could not remove a path of the former one's from a sticky directory.
            self.change(state=State.STOPPING, shut=False)
            self.act(ShutListeners())
            self.tidy_up()
        elif self.clear:
            self.change(state=State.WAITING)
            self.enqueue()
        else:
            self.change(state=State.STOPPING)

    def enqueue(self) -> None:
        """Queue in the throttle, once."""
        if not self.vassal.queued:
            self.change(queued=True)
            self.act(Enqueue(last=self.vassal.listens))

    def dequeue(self) -> None:
        """Leave the throttle's queue, if in it."""
        if self.vassal.queued:
            self.change(queued=False)
            self.act(Dequeue())

    def spawn(self) -> None:
        """Start the next generation."""
        vassal = self.vassal
        number = vassal.next_number
        limits = vassal.limits
        purpose = self._purpose()
        parked = vassal.state is State.PARKED
        new = Generation(number, vassal.manifest, self.now, limits.mercy, limits.start_timeout, purpose=purpose)
        self.change(
            queued=False,
            coming=new,
            next_number=number + 1,
            again=False,
            called=False,
            jobs=False,
            strategy="",
        )
        if not parked:
            self.change(state=State.STARTING if vassal.serving is None else State.RELOADING)
        self.act(Spawn(number, vassal.manifest, purpose))
        if purpose is Purpose.JOBS:
            self.act(Send(number, link.Activate(vassal.minute, vassal.running)))
        elif parked or vassal.serving is not None:
            self.arm(Alarm.START, number, self.now + limits.start_timeout)
        if vassal.serving is not None:
            self.keep_workers()
        if not parked:
            self.say(f"generation {number} starts")

    def keep_workers(self) -> None:
        """Newer code is on its way or has failed: whoever loads the app anew, or parks and wakes, would have that."""
        self.act(Send(self.serving.number, link.KeepWorkers()))

    def _purpose(self) -> Purpose:
        """What the next start is for."""
        vassal = self.vassal
        if vassal.state is State.PARKED:
            return Purpose.JOBS if vassal.jobs else Purpose.INSPECT
        return Purpose.INSPECT if vassal.sleepy and not vassal.called and vassal.serving is None else Purpose.SERVE

    def refuse(self, problem: str) -> None:
        """The manifest itself cannot be served: a failed reload, or broken at once."""
        self.dequeue()
        self.note("manifest", problem)
        self.act(Outcome(None, ok=False, text=problem))
        if self.vassal.serving is not None:
            self.say(f"not reloaded: {problem}")
            self.change(state=State.RUNNING, strategy="")
            self.keep_workers()
        else:
            self.give_up()

    # --- rest ----------------------------------------------------------------------------------------------------

    def back_off(self) -> None:
        """Wait before the next start; `failures` counts this one already. Who serves goes on meanwhile."""
        limits = self.vassal.limits
        serves = self.vassal.serving is not None
        wait = throttle.backoff(self.vassal.failures, limits.throttle_ms, limits.max_throttle_ms, self.dice)
        # A reload gets here only by overlap, and is to be one still, whatever the file says of others.
        self.change(state=State.RELOADING if serves else State.BACKOFF, strategy=OVERLAP if serves else "")
        self.arm(Alarm.RETRY, 0, self.now + wait)
        self.say(f"next try in {wait:.1f} s")

    def give_up(self) -> None:
        """Broken: refuse clients, and wait for a touch."""
        self.change(state=State.BROKEN, strategy="", called=False)
        self.arm(Alarm.RETRY, 0, self.now + BROKEN_RETRY)
        self.act(ShutListeners())
        reason = self.vassal.failure.reason if self.vassal.failure is not None else "no reason given"
        self.say(f"broken: {reason} (mend it and touch the file; next try in {BROKEN_RETRY:.0f} s)")

    # --- generations come ----------------------------------------------------------------------------------------

    def take_over(self, mercy: int) -> None:
        """The coming generation is ready: it serves, and its predecessor is released."""
        old = self.vassal.serving
        new = replace(self.coming, ready_at=self.now, mercy=self.bounded(mercy))
        if new.purpose is Purpose.INSPECT:  # it has found that it is not to be parked
            self.change(sleepy=False)
        self.drop_coming(kill=False)
        self.change(serving=new, failure=None, active=False, chaining=0, tidy=False, state=State.RUNNING)
        self.act(Commit(new.number))
        if old is not None:
            self.release(old)
        self.activate()
        self.act(Outcome(new.number, ok=True, text=f"generation {new.number} serves"))
        self.say(f"generation {new.number} serves, {self.now - new.started:.2f} s after its start")

    def chain(self) -> None:
        """Let the serving generation replace its workers, one by one; it will say how that ended."""
        number = self.serving.number
        if self.vassal.chaining:
            self.change(chaining=2, strategy="")
            return
        self.change(state=State.RELOADING, chaining=1, strategy="")
        self.act(Send(number, link.ReloadWorkers()))
        self.arm(Alarm.CHAIN, number, self.now + CHAIN_PATIENCE)
        self.say(f"generation {number} replaces its workers one by one")

    # --- generations sleep ---------------------------------------------------------------------------------------

    def rest(self, event: Parking) -> None:
        """Be parked: the emperor waits for callers, and for the time of the next cron job."""
        if self.vassal.state is not State.PARKED:
            self.say("parked")
        self.change(state=State.PARKED, sleepy=True, strategy="", minute=max(self.vassal.minute, event.minute))
        self.disarm(Alarm.WAKE)
        if event.wake is not None:
            self.arm(Alarm.WAKE, 0, self.now + max(event.wake, 0.0))

    def bow_out(self, number: int) -> None:
        """A generation that parks ends by itself, and is in nobody's way."""
        self.disarm_all(number)
        mercy = self.bounded(self.vassal.limits.mercy)
        self.leave(number, Leaving(Phase.RETIRING, mercy))
        self.arm(Alarm.MERCY, number, self.now + mercy + GRACE)

    def release_jobs(self) -> None:
        """The coming generation runs cron jobs: it may end those that run, while another one starts."""
        number = self.coming.number
        self.drop_coming(kill=False)
        mercy = self.bounded(self.vassal.limits.mercy)
        self.act(Send(number, link.Release()))
        self.leave(number, Leaving(Phase.RELEASING, mercy, owed=1))
        self.arm(Alarm.MERCY, number, self.now + mercy + GRACE)

    @property
    def releasing(self) -> bool:
        """Whether a leaving generation may still start jobs of its own."""
        return any(leaving.phase is Phase.RELEASING for leaving in self.vassal.leaving.values())

    def activate(self) -> None:
        """Start the serving generation's jobs, unless they run already or a predecessor may still run its own."""
        vassal = self.vassal
        if vassal.serving is not None and not vassal.active and not self.releasing:
            self.act(Send(vassal.serving.number, link.Activate(vassal.minute, vassal.running)))
            self.change(active=True, minute=0, running=())

    # --- generations go ------------------------------------------------------------------------------------------

    def drop_coming(self, *, kill: bool) -> None:
        """Nothing is coming any more: it is ready, has ended, or (`kill`) is killed. Gives its place back."""
        number = self.coming.number
        self.disarm_all(number)
        self.change(coming=None, again=False)
        self.act(Dequeue())
        if kill:
            self.act(Kill(number))
            self.leave(number, Leaving(Phase.KILLED, 0, clear=False))
            self.arm(Alarm.MERCY, number, self.now + KILL_PATIENCE)

    def release(self, old: Generation) -> None:
        """Ask a predecessor to end its jobs; it serves on until it has answered."""
        self.disarm_all(old.number)
        self.act(Send(old.number, link.Release()))
        self.leave(old.number, Leaving(Phase.RELEASING, old.mercy, owed=1))
        self.arm(Alarm.MERCY, old.number, self.now + old.mercy + GRACE)

    def retire(self, number: int, leaving: Leaving, *, final: bool, clear: bool) -> None:
        """End a generation gracefully. A retirement that is under way keeps its deadline."""
        under_way = leaving.phase is Phase.RETIRING and (Alarm.MERCY, number) in self.vassal.alarms
        self.act(Send(number, link.Retire(leaving.mercy, final)))
        owed = leaving.owed + (1 if final else 0)
        self.leave(number, Leaving(Phase.RETIRING, leaving.mercy, final, clear, owed))
        if not under_way:
            self.arm(Alarm.MERCY, number, self.now + leaving.mercy + GRACE)

    def retire_serving(self, *, final: bool) -> None:
        """End the serving generation gracefully; no successor starts beside it."""
        old = self.serving
        self.disarm_all(old.number)
        self.change(serving=None, active=False, chaining=0)
        self.retire(old.number, Leaving(Phase.RETIRING, old.mercy), final=final, clear=False)

    def drain(self, *, shut: bool = False) -> None:
        """Reload by ending the old generation first. `shut`: its listeners, too, are in its successor's way."""
        self.dequeue()
        self.retire_serving(final=False)
        self.change(state=State.STOPPING, strategy="", shut=shut)

    def wind_down(self, why: str) -> None:
        """The vassal is to end altogether: held or gone, as its record says by now."""
        self.dequeue()
        if self.vassal.coming is not None and self.vassal.coming.purpose is Purpose.JOBS:
            self.release_jobs()
        elif self.vassal.coming is not None:
            self.drop_coming(kill=True)
        for number, leaving in self.vassal.leaving.items():
            if leaving.phase is Phase.RELEASING:
                self.retire(number, leaving, final=False, clear=True)
        if self.vassal.serving is not None:
            self.retire_serving(final=True)
        else:
            self._make_last_final()
        self.disarm(Alarm.RETRY)
        self.act(ShutListeners(), Outcome(None, ok=False, text=why))
        self.change(state=State.STOPPING, strategy="", shut=False, minute=0, running=(), called=False)
        self.proceed()

    def _make_last_final(self) -> None:
        """With no generation serving, the newest that still retires is the one to unlink the sockets."""
        retiring = [number for number, leaving in self.vassal.leaving.items() if leaving.phase is Phase.RETIRING]
        if retiring and not self.vassal.leaving[max(retiring)].final:
            self.retire(max(retiring), self.vassal.leaving[max(retiring)], final=True, clear=False)

    def proceed(self) -> None:
        """Something that may have been in the way has moved: end, or start, if it was this that we waited for."""
        vassal = self.vassal
        if vassal.state is State.STOPPING and vassal.ending:
            if vassal.leaving:
                return
            if not vassal.tidy:
                self.tidy_up()
                return
            if vassal.gone:
                self.forgotten = True
            else:
                self.change(state=State.STOPPED)
            self.say("gone" if vassal.gone else "stopped")
        elif vassal.state is State.STOPPING or (
            vassal.state is State.RELOADING
            and vassal.coming is None
            and not vassal.queued
            and not vassal.chaining
            and vassal.next_retry is None
        ):
            self.want()

    def tidy_up(self) -> None:
        """Let a child remove the paths of the sockets, as whoever had them: no generation is left that could."""
        number = self.vassal.next_number
        self.change(tidy=True, next_number=number + 1)
        patience = TIDY_PATIENCE + self.bounded(self.vassal.limits.mercy)  # it may have daemons to end
        self.act(Spawn(number, self.vassal.manifest, Purpose.UNLINK))
        self.leave(number, Leaving(Phase.RETIRING, patience, final=True, clear=False))
        self.arm(Alarm.MERCY, number, self.now + patience)
