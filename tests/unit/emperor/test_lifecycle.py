"""The lifecycle, replayed: histories of events with an injected clock; no process, no sleep."""

from dataclasses import replace

import pytest

from emperor import ledger, lifecycle, states, turn
from emperor.kinds import Kind
from emperor.states import Alarm, Limits, Phase, Purpose, State
from emperor.throttle import backoff
from tests.unit.emperor.life import ASKED, LIMITS, ON_DEMAND, Life, manifest, parked, reloading, running
from vassal import link


def test_a_vassal_is_born_waits_starts_and_runs():
    life = Life()
    assert life.state is State.WAITING
    assert life.did(states.Enqueue)
    life.feed(states.Slot())
    assert life.state is State.STARTING
    assert life.did(states.Spawn) == [states.Spawn(1, manifest())]
    life.feed(states.Ready(1, 30))
    assert life.state is State.RUNNING
    assert life.vassal.serving.mercy == 30
    assert life.did(states.Commit) == [states.Commit(1)]
    assert life.sent() == [(1, link.Activate())]
    assert life.did(states.Outcome) == [states.Outcome(1, ok=True, text="generation 1 serves")]


def test_a_touch_overlaps_release_then_activate_then_retire():
    life = running(mercy=20)
    life.feed(states.Touched(manifest(2)))
    assert life.state is State.RELOADING
    assert life.sent() == []
    life.feed(states.Slot())
    assert life.did(states.Spawn) == [states.Spawn(2, manifest(2))]
    life.feed(states.Ready(2, 60))
    assert life.state is State.RUNNING
    assert life.did(states.Commit) == [states.Commit(2)]
    assert life.sent() == [(1, link.Release())]
    life.feed(states.Released(1, 77, ("backup",)))
    assert sorted(life.sent(), key=lambda one: one[0]) == [
        (1, link.Retire(20, final=False)),
        (2, link.Activate(77, ("backup",))),
    ]
    life.feed(states.Exited(1, "exited"))
    assert not life.vassal.leaving
    assert not life.vassal.alarms


def test_an_old_generation_that_exits_without_releasing_does_not_hold_up_the_jobs():
    life = reloading().feed(states.Ready(2, 60), states.Exited(1, "was killed by SIGKILL"))
    assert life.sent() == [(2, link.Activate())]


def test_an_old_generation_that_never_releases_is_killed_at_mercy():
    life = reloading(mercy=20).feed(states.Ready(2, 60))
    life.wait(20 + turn.GRACE - 0.1)
    assert life.vassal.leaving[1].phase is Phase.RELEASING
    life.wait(0.1)
    assert life.did(states.Kill) == [states.Kill(1)]
    assert life.sent() == [(2, link.Activate())]


def test_jobs_wait_for_every_generation_that_may_still_run_them():
    life = reloading().feed(states.Ready(2, 60), states.Touched(manifest(3)), states.Slot(), states.Ready(3, 60))
    life.feed(states.Released(2))
    assert life.sent() == [(2, link.Retire(60, final=False))]
    life.feed(states.Released(1, 5, ("x",)))
    assert (3, link.Activate(5, ("x",))) in life.sent()


@pytest.mark.parametrize(
    "event", [states.Failed(2, "load", "no module"), states.Failed(2, "bind", "taken"), states.Exited(2, "exited")]
)
def test_a_failed_reload_rolls_back(event):
    life = reloading().feed(event)
    assert life.state is State.RUNNING
    assert life.vassal.serving.number == 1
    assert life.sent() == [(1, link.KeepWorkers())]
    assert [one.ok for one in life.did(states.Outcome)] == [False]
    assert life.did(states.Outcome)[0].gen == 2
    assert life.vassal.failure.reason in life.did(states.Outcome)[0].text
    failure = life.vassal.failure
    life.feed(states.Loyal(1)).wait(1000)
    assert life.vassal.failure == failure, "kept until the next success"
    life.feed(states.Exited(2, "exited"), states.Touched(manifest(3)), states.Slot(), states.Ready(3, 60))
    assert life.vassal.failure is None


def test_nobody_loads_code_by_choice_that_a_new_generation_has_yet_to_try():
    life = Life().feed(states.Slot(), states.Ready(1, 60), states.Touched(manifest(2)), states.Slot())
    assert life.sent() == [(1, link.KeepWorkers())]
    life = Life().feed(states.Slot(), states.Ready(1, 60), states.Touched(manifest(2, problem="a link to nowhere")))
    assert life.sent() == [(1, link.KeepWorkers())]


def test_a_start_timeout_counts_only_while_an_older_one_serves():
    life = Life().feed(states.Slot(), states.Facts(1, 5, "")).wait(10_000)
    assert life.state is State.STARTING
    life = reloading().feed(states.Facts(2, 5, "")).wait(4.9)
    assert life.state is State.RELOADING
    life.wait(0.1)
    assert life.state is State.RUNNING
    assert life.did(states.Kill) == [states.Kill(2)]
    assert "start-timeout" in life.vassal.failure.reason
    life = reloading().feed(states.Exited(1, "was killed"))
    assert life.state is State.STARTING
    assert life.wait(10_000).state is State.STARTING
    assert life.feed(states.Ready(2, 60)).state is State.RUNNING


def test_a_touch_while_something_comes_is_one_more_reload():
    life = Life().feed(states.Slot())
    for version in range(2, 102):
        life.feed(states.Touched(manifest(version))).wait(0.01)
    life.feed(states.Ready(1, 60))
    assert life.state is State.RELOADING
    assert life.up().state is State.RUNNING
    assert life.vassal.serving.manifest == manifest(101)
    assert life.spawned == 2


def test_an_out_of_date_start_is_superseded_and_the_newest_waits_for_its_end():
    life = Life().feed(states.Slot(), states.Touched(manifest(2))).wait(3).feed(states.Touched(manifest(3)))
    life.wait(1.9)
    assert life.vassal.coming.number == 1
    life.wait(0.1)
    assert life.did(states.Kill) == [states.Kill(1)]
    assert life.vassal.coming is None
    assert not life.queued, "it may still hold the address that its successor wants"
    life.feed(states.Exited(1, "was killed by SIGKILL"))
    assert life.state is State.WAITING
    assert life.feed(states.Slot()).did(states.Spawn) == [states.Spawn(2, manifest(3))]


def test_a_process_that_not_even_sigkill_ends_stops_no_successor():
    life = Life().feed(states.Slot(), states.Touched(manifest(2))).wait(turn.SUPERSEDE)
    assert life.state is State.STOPPING
    assert life.wait(turn.KILL_PATIENCE).state is State.WAITING


def test_a_failure_of_an_out_of_date_start_is_followed_by_the_newest_at_once():
    life = Life().feed(states.Slot(), states.Touched(manifest(2)), states.Failed(1, "load", "no module"))
    life.feed(states.Exited(1, "exited"))
    assert life.state is State.WAITING


@pytest.mark.parametrize("stage", ["config", "identity", "interpreter", "load", "ready"])
def test_what_cannot_load_is_broken_and_tried_again(stage):
    life = Life().feed(states.Slot(), states.Failed(1, stage, "why", "trace"))
    assert life.state is State.BROKEN
    assert life.did(states.ShutListeners)
    assert life.vassal.failure == states.Failure(stage, "why", "trace", life.now)
    assert life.vassal.next_retry == life.now + turn.BROKEN_RETRY
    life.feed(states.Exited(1, "exited")).wait(turn.BROKEN_RETRY)
    assert life.state is State.WAITING


@pytest.mark.parametrize("stage", ["bind", "spawn", "something new"])
def test_what_may_pass_backs_off(stage):
    life = Life().feed(states.Slot(), states.Failed(1, stage, "why"))
    assert life.state is State.BACKOFF
    assert not life.did(states.ShutListeners)


def test_crashes_back_off_longer_each_time_and_loyalty_forgives():
    life = Life()
    for failures in range(1, 12):
        life.feed(states.Slot())
        number = life.vassal.coming.number
        if failures % 2:
            life.feed(states.Ready(number, 60))
        life.feed(states.Exited(number, "was killed by SIGSEGV"))
        assert life.state is State.BACKOFF
        wait = backoff(failures, 1000, 180_000, 0.0)
        assert life.vassal.next_retry == life.now + wait
        assert life.wait(wait).state is State.WAITING
    life.up().wait(ledger.PROOF)
    life.feed(states.Loyal(life.vassal.serving.number))
    assert life.vassal.failures == 0


def test_a_loyal_death_starts_anew_at_once():
    life = running().feed(states.Loyal(1)).wait(ledger.PROOF).feed(states.Exited(1, "was killed by SIGKILL"))
    assert life.state is State.WAITING
    assert life.did(states.Enqueue)
    assert life.vassal.failures == 0
    assert "SIGKILL" in life.vassal.failure.reason


def test_who_only_claims_to_be_loyal_backs_off_longer_each_time():
    life = Life()
    for failures in range(1, 9):
        number = life.up().vassal.serving.number
        life.feed(states.Loyal(number)).wait(ledger.PROOF / 2).feed(states.Exited(number, "exited with status 0"))
        assert life.state is State.BACKOFF
        assert life.vassal.next_retry == life.now + backoff(failures, 1000, 180_000, 0.0)
        life.wait(life.vassal.next_retry - life.now)


def test_who_was_loyal_early_and_lived_on_has_no_failures_left():
    life = Life().up().feed(states.Exited(1, "exited")).wait(10)
    assert life.vassal.failures == 1
    life.up().feed(states.Loyal(2)).wait(ledger.PROOF).feed(states.Exited(2, "was killed by SIGKILL"))
    assert life.state is State.WAITING
    assert life.vassal.failures == 0


def unspawned(life):
    """The emperor's own word that the coming generation could not be forked."""
    number = life.vassal.coming.number
    return life.feed(states.Failed(number, "spawn", "the fork server died"), states.Exited(number, "was never started"))


def test_a_reload_whose_process_could_not_be_forked_is_tried_again_until_it_serves():
    life = reloading()
    for failures in range(1, 6):
        unspawned(life)
        assert life.state is State.RELOADING
        assert life.vassal.serving.number == 1
        assert life.vassal.failure.reason == "the fork server died"
        assert not life.queued, "it waits first"
        wait = backoff(failures, 1000, 180_000, 0.0)
        assert life.vassal.next_retry == life.now + wait
        assert not life.wait(wait - 0.1).queued
        assert life.wait(0.1).queued
        assert life.vassal.next_retry is None
        life.feed(states.Slot())
    life.feed(states.Ready(7, 60))
    assert life.state is State.RUNNING
    assert life.vassal.serving.manifest == manifest(2)


@pytest.mark.parametrize("event", [states.Touched(manifest(3)), states.Start(), states.Forgive(), states.Reload(None)])
def test_a_reload_that_waits_for_its_next_try_is_hastened_on_request(event):
    life = unspawned(reloading()).feed(event)
    assert life.queued
    assert life.vassal.failures == 0
    assert life.up().state is State.RUNNING


@pytest.mark.parametrize("event", [states.Start(), states.Forgive()])
def test_a_reload_that_is_under_way_cannot_be_hastened(event):
    life = reloading()
    before = life.vassal
    assert life.feed(event).vassal == before


def test_the_end_of_another_generation_does_not_hasten_a_reload_that_waits():
    life = reloading().feed(states.Ready(2, 60), states.Released(1), states.Touched(manifest(3)), states.Slot())
    unspawned(life).feed(states.Exited(1, "exited"))
    assert not life.queued
    assert life.vassal.next_retry is not None


def test_the_next_try_of_an_asked_for_overlap_is_an_overlap_again():
    life = unspawned(running(strategy="drain").feed(states.Reload("overlap"), states.Slot()))
    assert life.wait(1).state is State.RELOADING
    assert life.up().state is State.RUNNING


def test_a_reload_whose_address_another_vassal_holds_is_tried_again_until_it_is_free():
    life = reloading().feed(states.Failed(2, "bind", "in use: by vassal shop", "", "shop"), states.Exited(2, "exited"))
    assert (life.state, life.vassal.serving.number) == (State.RELOADING, 1)
    assert life.vassal.failure.stage == "bind"
    assert not life.queued, "it waits first"
    assert life.wait(1).queued
    assert life.up().vassal.serving.manifest == manifest(2)


def test_a_reload_whose_address_a_stranger_holds_waits_for_a_touch():
    life = reloading().feed(states.Failed(2, "bind", "in use"), states.Exited(2, "exited"))
    assert (life.state, life.vassal.next_retry) == (State.RUNNING, None)


def test_a_reload_that_waits_when_its_old_one_dies_starts_at_once():
    life = unspawned(reloading()).feed(states.Exited(1, "was killed by SIGKILL"))
    assert life.state is State.WAITING
    assert life.up().vassal.serving.manifest == manifest(2)


@pytest.mark.parametrize("event", [states.Touched(manifest(9)), states.Start(), states.Forgive(), states.Reload(None)])
@pytest.mark.parametrize("stage", ["load", "bind"])
def test_backoff_and_broken_are_forgotten_on_request(event, stage):
    life = Life().feed(states.Slot(), states.Failed(1, stage, "why"), states.Exited(1, "exited"), event)
    assert life.state is State.WAITING
    assert life.vassal.failures == 0


def crowd():
    """A vassal that was reloaded so often that as many generations as may be are still leaving."""
    life = running()
    for version in range(2, ledger.MOST_LEAVING + 2):
        life.feed(states.Touched(manifest(version)))
        life.up()
    assert len(life.vassal.leaving) == ledger.MOST_LEAVING
    return life.feed(states.Touched(manifest(99)))


def test_a_reload_waits_while_too_many_old_generations_still_answer():
    life = crowd()
    assert (life.state, life.queued) == (State.RELOADING, False)
    assert not life.did(states.Kill), "nobody's request is cut for it"
    life.feed(states.Touched(manifest(100)), states.Released(3))
    assert not life.queued
    life.feed(states.Exited(3, "exited"))
    assert life.queued
    assert life.up().vassal.serving.manifest == manifest(100), "the newest file, once"


def test_a_reload_that_waits_for_old_generations_begins_at_their_mercy():
    life = crowd()
    oldest = min(life.vassal.leaving)
    life.wait(62)
    assert life.vassal.leaving[oldest].phase is Phase.KILLED
    life.feed(states.Exited(oldest, "was killed by SIGKILL"))
    assert life.queued


def test_a_vassal_that_dies_is_started_however_many_are_leaving():
    life = crowd()
    life.feed(states.Exited(life.vassal.serving.number, "was killed by SIGSEGV"))
    assert life.state is State.WAITING


def test_a_collision_is_reloaded_by_drain():
    life = reloading().feed(states.Failed(2, "collision", "127.0.0.1:80 overlaps :80"), states.Exited(2, "exited"))
    assert life.state is State.STOPPING
    assert life.vassal.leaving[1].phase is Phase.RETIRING
    life.feed(states.Exited(1, "exited"))
    assert [type(one) for one in life.actions] == [states.ShutListeners, states.Spawn]
    assert life.did(states.Spawn)[0].purpose is states.Purpose.UNLINK, "the next one may not be able to"
    life.feed(states.Exited(3, "had nothing to do"))
    assert [type(one) for one in life.actions] == [states.Enqueue]
    assert life.up().state is State.RUNNING


def test_a_collision_with_what_nobody_serves_shuts_it_down():
    life = Life().feed(states.Slot(), states.Failed(1, "collision", "why"), states.Exited(1, "exited"))
    assert life.did(states.ShutListeners)
    assert life.did(states.Spawn)[0].purpose is states.Purpose.UNLINK
    life.feed(states.Exited(2, "exited"))
    assert life.state is State.WAITING, "what was in its way is gone"
    life.feed(states.Slot(), states.Failed(3, "collision", "why"))
    assert life.state is State.BACKOFF, "but a vassal that says so again and again has to wait"


def test_a_parked_vassal_that_collides_with_its_former_owner_is_looked_at_anew():
    life = parked().feed(states.Touched(manifest(2)), states.Slot())
    number = life.vassal.coming.number
    life.feed(states.Failed(number, "collision", "the listeners are another user's"), states.Exited(number, "exited"))
    life.feed(states.Exited(number + 1, "exited"))  # it has unlinked the sockets
    life.feed(states.Slot())
    assert life.did(states.Spawn)[0].purpose is states.Purpose.INSPECT
    assert life.feed(states.Parking(number + 2), states.Exited(number + 2, "exited")).state is State.PARKED


@pytest.mark.parametrize("by_command", [True, False])
def test_drain_ends_the_old_one_first_and_keeps_the_listeners(by_command):
    life = running(mercy=7, strategy="" if by_command else "drain")
    life.feed(states.Reload("drain") if by_command else states.Touched(manifest(2)))
    assert life.state is State.STOPPING
    assert life.sent() == [(1, link.Retire(7, final=False))]
    life.feed(states.Exited(1, "exited"))
    assert life.state is State.WAITING
    assert [type(one) for one in life.actions] == [states.Enqueue]
    assert life.up().state is State.RUNNING


def test_a_command_may_ask_a_draining_vassal_to_overlap():
    life = running(strategy="drain").feed(states.Reload("overlap"))
    assert life.state is State.RELOADING
    assert life.feed(states.Slot()).vassal.strategy == ""


def test_a_deleted_vassal_ends_and_is_forgotten():
    life = reloading(mercy=9).feed(states.Vanished())
    assert life.state is State.STOPPING
    assert life.did(states.Kill) == [states.Kill(2)]
    assert life.sent() == [(1, link.Retire(9, final=True))]
    assert life.did(states.ShutListeners)
    assert [one.ok for one in life.did(states.Outcome)] == [False]
    life.feed(states.Exited(2, "was killed"))
    assert life.state is State.STOPPING
    life.feed(states.Released(1))
    assert life.feed(states.Exited(1, "exited")).vassal is None


def test_what_a_dead_generation_left_is_unlinked_by_a_child_of_its_own():
    for root in (False, True):
        life = running(limits=Limits(root=root)).feed(states.Vanished(), states.Exited(1, "was killed"))
        assert life.did(states.Spawn) == [states.Spawn(2, manifest(), Purpose.UNLINK)]
        assert life.state is State.STOPPING
        assert life.feed(states.Exited(2, "exited")).vassal is None
    life = running(limits=Limits(root=True)).feed(states.Vanished(), states.Released(1), states.Exited(1, "exited"))
    assert life.did(states.Spawn), "root may have bound what its user cannot unlink"
    life.wait(turn.TIDY_PATIENCE + Limits().mercy)
    assert life.did(states.Kill) == [states.Kill(2)]
    assert life.feed(states.Exited(2, "was killed")).vassal is None


def test_without_processes_a_deleted_vassal_is_forgotten_at_once():
    assert Life().feed(states.Vanished()).vassal is None
    assert not Life(manifest(1, "it is a FIFO")).feed(states.Vanished()).queued
    failed = Life().feed(states.Slot(), states.Failed(1, "load", "why"), states.Exited(1, "exited"))
    assert failed.feed(states.Vanished()).vassal is None
    life = running().feed(states.Stop(), states.Released(1), states.Exited(1, "exited"))
    assert life.feed(states.Vanished()).vassal is None


def test_an_emperor_that_ends_does_not_say_that_its_vassals_wait_for_a_command():
    for ending, text in ((True, "stopping"), (False, "stopping, until it is started by command")):
        _, actions = lifecycle.step(running().vassal, states.Stop(ending), 1000.0, 0.0)
        assert [action.text for action in actions if isinstance(action, states.Say)] == [text]


def test_a_deleted_vassal_that_does_not_end_is_killed():
    life = running(mercy=9).feed(states.Vanished()).wait(9 + turn.GRACE)
    assert life.did(states.Kill) == [states.Kill(1)]
    life.feed(states.Exited(1, "was killed"), states.Exited(2, "exited"))
    assert life.vassal is None


def test_mercy_that_a_vassal_claims_is_bounded():
    life = running(mercy=2**62).feed(states.Vanished()).wait(ledger.LONGEST + turn.GRACE)
    assert life.did(states.Kill) == [states.Kill(1)]
    life = running(mercy=-5).feed(states.Vanished())
    assert life.sent() == [(1, link.Retire(0, final=True))]


def test_a_file_that_comes_back_starts_as_soon_as_the_sockets_are_unlinked():
    life = running().feed(states.Vanished(), states.Touched(manifest(2)))
    assert life.state is State.STOPPING
    life.feed(states.Released(1))
    assert life.state is State.WAITING
    assert life.up().state is State.RUNNING
    assert life.feed(states.Exited(1, "exited")).state is State.RUNNING


def test_an_answer_to_release_is_not_taken_for_unlinked_sockets():
    life = reloading().feed(states.Ready(2, 60), states.Exited(2, "was killed"))
    assert life.vassal.leaving[1].phase is Phase.RELEASING
    life.feed(states.Vanished())
    assert life.sent()[-1] == (1, link.Retire(60, final=True))
    life.feed(states.Touched(manifest(3)), states.Released(1))
    assert life.state is State.STOPPING
    assert life.feed(states.Released(1)).state is State.WAITING


def test_with_nobody_serving_the_newest_that_leaves_unlinks_the_sockets():
    life = reloading().feed(states.Ready(2, 60), states.Released(1), states.Exited(2, "was killed"))
    assert life.state is State.BACKOFF
    assert life.feed(states.Vanished()).sent() == [(1, link.Retire(60, final=True))]


def test_stop_holds_through_touches_until_start():
    life = running().feed(states.Stop())
    assert life.sent() == [(1, link.Retire(60, final=True))]
    life.feed(states.Touched(manifest(2)), states.Released(1), states.Exited(1, "exited"))
    assert life.state is State.STOPPED
    life.feed(states.Touched(manifest(3)), states.Forgive()).wait(10_000)
    assert life.state is State.STOPPED
    life.feed(states.Reload(None))
    assert life.did(states.Outcome) == [
        states.Outcome(None, ok=False, text="blog is stopped; start it first: emperor start blog")
    ]
    assert life.feed(states.Start()).state is State.WAITING
    assert life.feed(states.Slot()).did(states.Spawn) == [states.Spawn(2, manifest(3))]


def test_start_takes_a_stop_back():
    life = running().feed(states.Stop(), states.Start())
    assert life.state is State.STOPPING
    assert life.feed(states.Exited(1, "exited")).state is State.WAITING


@pytest.mark.parametrize("stage", ["load", "bind"])
def test_stop_is_immediate_where_nothing_runs(stage):
    life = Life().feed(states.Slot(), states.Failed(1, stage, "why"), states.Exited(1, "exited"), states.Stop())
    assert life.state is State.STOPPED
    assert Life().feed(states.Stop()).state is State.STOPPED


def test_what_cannot_be_served_is_broken_at_once():
    life = Life(manifest(1, "it is a FIFO, not a regular file"))
    assert life.state is State.BROKEN
    assert life.spawned == 0
    assert life.vassal.failure.reason == "it is a FIFO, not a regular file"
    assert life.wait(turn.BROKEN_RETRY * 3).state is State.BROKEN
    assert life.feed(states.Touched(manifest(2))).state is State.WAITING


def test_a_file_that_turns_into_what_cannot_be_served_leaves_the_old_one_serving():
    life = running().feed(states.Touched(manifest(2, "a directory")))
    assert life.state is State.RUNNING
    assert [one.ok for one in life.did(states.Outcome)] == [False]
    life = reloading().feed(states.Touched(manifest(3, "a directory")))
    assert life.state is State.RUNNING
    assert life.did(states.Kill) == [states.Kill(2)]
    assert life.vassal.failure.stage == "manifest"


def test_serving_dies_while_queued_or_coming():
    life = running().feed(states.Touched(manifest(2)), states.Exited(1, "was killed"))
    assert life.state is State.WAITING
    assert life.feed(states.Slot()).state is State.STARTING
    life = reloading().feed(states.Exited(1, "was killed"), states.Failed(2, "load", "why"))
    assert life.state is State.BROKEN


def test_a_missing_heartbeat_kills_only_who_has_sent_one():
    assert running().wait(10_000).did(states.Kill) == []
    life = running().feed(states.Heartbeat(1)).wait(20).feed(states.Heartbeat(1)).wait(29)
    assert life.did(states.Kill) == []
    assert life.wait(1).did(states.Kill) == [states.Kill(1)]
    life = Life(limits=replace(LIMITS, required_heartbeat=0)).up().feed(states.Heartbeat(1))
    assert not life.vassal.alarms


def test_a_place_that_nobody_wants_any_more_is_given_back():
    life = running().feed(states.Slot())
    assert life.actions == [states.Dequeue()]
    assert reloading().feed(states.Slot()).actions == [states.Dequeue()]


def test_an_alarm_that_was_moved_or_dropped_is_stale():
    life = running(mercy=20).feed(states.Vanished())
    assert life.kind(states.Due(Alarm.MERCY, 1)) is Kind.STALE
    assert life.kind(states.Due(Alarm.RETRY)) is Kind.STALE
    life.now += 20 + turn.GRACE
    assert life.kind(states.Due(Alarm.MERCY, 1)) is Kind.MERCY_OVERDUE


@pytest.mark.parametrize("make", [Life, running, reloading])
@pytest.mark.parametrize("number", range(4))
def test_a_generation_that_speaks_out_of_turn_changes_nothing(make, number):
    for words in (
        states.Loyal(number),
        states.Ready(number, 1),
        states.Failed(number, "load", ""),
        states.Facts(number),
    ):
        life = make()
        if life.kind(words) is Kind.STALE:
            before = life.vassal
            life.feed(words)
            assert (life.vassal, life.actions) == (before, [])


# --- sleep -------------------------------------------------------------------------------------------------------


def test_on_demand_it_is_parked_from_the_start_and_looked_at_last():
    life = Life(limits=ON_DEMAND)
    assert life.state is State.PARKED
    assert life.vassal.listens
    assert life.did(states.Enqueue) == [states.Enqueue(last=True)]
    life.feed(states.Slot())
    assert life.did(states.Spawn) == [states.Spawn(1, manifest(), Purpose.INSPECT)]
    life.feed(states.Parking(1, 60.0))
    assert life.did(states.Commit) == [states.Commit(1)]
    assert life.vassal.wake_at == life.now + 60
    assert life.feed(states.Exited(1, "exited")).state is State.PARKED


def test_whether_it_is_on_demand_its_first_start_finds_out():
    life = Life(limits=ASKED).feed(states.Slot())
    assert life.did(states.Spawn) == [states.Spawn(1, manifest(), Purpose.INSPECT)]
    assert life.state is State.STARTING
    assert life.feed(states.Parking(1)).state is State.PARKED
    life = Life(limits=ASKED).feed(states.Slot(), states.Ready(1, 60))
    assert life.state is State.RUNNING
    assert not life.vassal.sleepy
    life.feed(states.Loyal(1)).wait(5).feed(states.Exited(1, "was killed"), states.Slot())
    assert life.did(states.Spawn) == [states.Spawn(2, manifest(), Purpose.SERVE)]


def test_a_caller_wakes_it_and_nobody_listens_meanwhile():
    life = parked().feed(states.Called())
    assert life.state is State.WAITING
    assert not life.vassal.listens
    life.feed(states.Slot())
    assert life.did(states.Spawn) == [states.Spawn(2, manifest(), Purpose.SERVE)]
    assert life.feed(states.Ready(2, 60)).state is State.RUNNING


def test_a_caller_does_not_wait_in_the_queue_of_those_that_sleep():
    life = Life(limits=ON_DEMAND).feed(states.Called())
    assert life.did(states.Enqueue) == [states.Enqueue(last=False)]
    assert life.feed(states.Slot()).did(states.Spawn) == [states.Spawn(1, manifest(), Purpose.SERVE)]


def test_a_caller_during_the_look_is_served_right_after_it():
    life = Life(limits=ON_DEMAND).feed(states.Slot(), states.Called())
    assert not life.vassal.listens
    assert life.feed(states.Parking(1)).state is State.WAITING
    assert life.feed(states.Slot()).did(states.Spawn) == [states.Spawn(2, manifest(), Purpose.SERVE)]


def test_a_wake_that_fails_backs_off_and_does_not_listen():
    life = parked()
    waits = []
    for _ in range(3):
        number = life.vassal.next_number
        life.feed(states.Called(), states.Slot(), states.Exited(number, "was killed"))
        assert life.state is State.BACKOFF
        assert not life.vassal.listens
        waits.append(life.vassal.next_retry - life.now)
        life.wait(waits[-1]).feed(states.Slot(), states.Parking(life.vassal.next_number - 1 + 1))
        if life.vassal.coming:
            life.feed(states.Parking(life.vassal.coming.number))
        assert life.state is State.PARKED
        life.feed(*[states.Exited(number, "exited") for number in life.vassal.leaving])
    assert waits == [1.0, 2.0, 4.0], "looking at it does not make up for failures"


def test_idle_it_parks_and_its_end_is_no_crash():
    life = running().wait(10).feed(states.Parking(1, None, 77))
    assert life.state is State.PARKED
    assert life.vassal.minute == 77
    assert life.vassal.failure is None
    life.feed(states.Called(), states.Slot())
    assert life.did(states.Spawn) == [states.Spawn(2, manifest(), Purpose.SERVE)], "whoever leaves is in nobody's way"
    life.feed(states.Ready(2, 60))
    assert (2, link.Activate(77, ())) in life.sent()


def test_parking_at_once_is_a_failed_start():
    life = running().feed(states.Parking(1))
    assert life.state is State.BACKOFF
    assert life.vassal.failures == 1


def test_touched_while_parked_it_is_looked_at_and_sleeps_on():
    life = parked(60.0).feed(states.Touched(manifest(2)))
    assert life.state is State.PARKED
    life.feed(states.Slot())
    assert life.did(states.Spawn) == [states.Spawn(2, manifest(2), Purpose.INSPECT)]
    life.feed(states.Parking(2))
    assert life.state is State.PARKED
    assert life.vassal.wake_at is None
    assert life.did(states.Outcome) == [states.Outcome(2, ok=True, text="parked: the next connection starts it")]


def test_a_broken_file_of_a_parked_vassal_is_told_at_once():
    life = parked().feed(states.Touched(manifest(2)), states.Slot(), states.Failed(2, "config", "no such option"))
    assert life.state is State.BROKEN
    assert life.did(states.ShutListeners)
    life.feed(states.Exited(2, "exited"), states.Touched(manifest(3)), states.Slot())
    assert life.did(states.Spawn) == [states.Spawn(3, manifest(3), Purpose.INSPECT)]


def test_a_look_that_hangs_ends():
    life = parked().feed(states.Touched(manifest(2)), states.Slot()).wait(ON_DEMAND.start_timeout)
    assert life.did(states.Kill) == [states.Kill(2)]
    assert life.state is State.BROKEN


def test_cron_of_a_parked_vassal_runs_without_an_app():
    life = parked(60.0).wait(60)
    assert life.did(states.Enqueue) == [states.Enqueue(last=True)]
    life.feed(states.Slot())
    assert life.did(states.Spawn) == [states.Spawn(2, manifest(), Purpose.JOBS)]
    assert life.sent() == [(2, link.Activate())]
    assert life.state is State.PARKED
    assert life.vassal.listens
    life.feed(states.Parking(2, 60.0, 5), states.Exited(2, "exited"))
    assert life.wait(60).feed(states.Slot()).sent() == [(3, link.Activate(5))]


def test_the_jobs_of_one_do_not_hold_up_those_of_others():
    """They may run for hours; what has its place in the throttle is the start."""
    life = parked(60.0).wait(60).feed(states.Slot()).feed(states.Facts(2))
    assert life.did(states.Dequeue)
    life.feed(states.Called(), states.Facts(2)).feed(states.Slot(), states.Facts(3))
    assert not life.did(states.Dequeue), "a start of the app keeps its place until it is ready"


def test_a_caller_does_not_wait_for_cron_and_no_job_runs_twice():
    life = parked(60.0).wait(60).feed(states.Slot(), states.Called())
    assert life.sent() == [(2, link.Release())]
    assert life.state is State.WAITING
    life.feed(states.Slot(), states.Ready(3, 60))
    assert life.sent() == []
    life.feed(states.Released(2, 8, ("backup",)))
    assert (3, link.Activate(8, ("backup",))) in life.sent()


def test_cron_that_cannot_run_is_tried_again_and_the_vassal_sleeps_on():
    life = parked(60.0).wait(60).feed(states.Slot(), states.Failed(2, "config", "why"), states.Exited(2, "exited"))
    assert life.state is State.PARKED
    assert life.vassal.wake_at == life.now + turn.JOBS_RETRY


def test_a_parked_vassal_that_is_deleted_leaves_nothing():
    life = parked().feed(states.Vanished())
    assert life.did(states.ShutListeners)
    assert life.did(states.Spawn) == [states.Spawn(2, manifest(), Purpose.UNLINK)]
    assert life.feed(states.Exited(2, "exited")).vassal is None


# --- chain -------------------------------------------------------------------------------------------------------


def test_chain_replaces_the_workers_of_the_same_generation():
    life = running(strategy="chain").feed(states.Touched(manifest(2)))
    assert life.state is State.RELOADING
    assert life.sent() == [(1, link.ReloadWorkers())]
    life.feed(states.Chained(1))
    assert life.state is State.RUNNING
    assert life.did(states.Outcome) == [states.Outcome(None, ok=True, text="generation 1 has replaced its workers")]
    assert life.spawned == 1


def test_a_chain_that_breaks_keeps_the_old_workers_and_says_why():
    life = running(strategy="chain").feed(states.Touched(manifest(2)), states.Chained(1, "no module named x", "trace"))
    assert life.state is State.RUNNING
    assert life.vassal.failure.reason == "no module named x"
    assert [one.ok for one in life.did(states.Outcome)] == [False]


def test_an_edited_file_under_chain_gets_a_new_generation():
    life = running(strategy="chain").feed(states.Touched(manifest(2)), states.Chained(1, edited=True))
    assert life.state is State.RELOADING
    assert life.up(strategy="chain").vassal.serving.number == 2


def test_touched_during_a_chain_it_is_done_once_more():
    life = running(strategy="chain").feed(*[states.Touched(manifest(version)) for version in (2, 3, 4)])
    life.feed(states.Chained(1))
    assert life.sent() == [(1, link.ReloadWorkers())]
    life.feed(states.Chained(1))
    assert life.state is State.RUNNING


def test_a_chain_that_never_ends_is_given_up():
    life = running(strategy="chain").feed(states.Touched(manifest(2))).wait(turn.CHAIN_PATIENCE)
    assert life.state is State.RUNNING
    assert [one.ok for one in life.did(states.Outcome)] == [False]


def test_mercy_ends_where_the_emperors_patience_with_cursed_vassals_does():
    life = running(limits=Limits(curse_tolerance=5), mercy=60).feed(states.Stop())
    assert life.sent() == [(1, link.Retire(5, final=True))]
