"""The script's rules, one test each, by a clock made of numbers; the server is a real one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.limits.redis.account import PREFIX, Account
from wavespeed_async.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from tests.limits.redis.server import RedisServer

PER, GRACE, LEASE = 60.0, 5.0, 10.0
WINDOW = PER * 1.001 + 0.02


@pytest.fixture
def client(redis: RedisServer) -> Iterator[Redis]:
    with redis.client() as made:
        yield made


def _account(client: Redis, requests: int = 2, concurrency: int = 20, **other: Any) -> Account:
    limits = Limits(requests=requests, concurrency=concurrency, **other)
    return Account(client, limits).opened()


def test_an_empty_store_grants_nothing_for_a_lease_grace_and_a_window(client: Redis) -> None:
    """It may have been lost a moment ago, with all that it had granted."""
    account = Account(client, Limits())
    process = account.process("a")
    process.join()
    account.wait(LEASE + GRACE + WINDOW - 0.001, process)
    assert process.tokens() == []
    account.wait(0.002, process)
    assert len(process.tokens()) == 1


def test_the_window_holds_over_all_processes(client: Redis) -> None:
    """Two processes together get what one is allowed, until `per` after an answer."""
    account = _account(client, 2)
    first, second = account.process("a"), account.process("b")
    first.join("p")
    second.join("p")
    second.join("p")
    assert (len(first.granted), len(second.granted)) == (1, 1)
    second.send(reports=[second.report("answered", second.granted[0])])
    account.wait(WINDOW - 0.001, first, second)
    assert len(second.tokens()) == 1
    account.now += 0.002
    assert len(second.tokens()) == 2


def test_an_answer_counts_from_when_it_came(client: Redis) -> None:
    """A report that took a while costs no time: it says how long ago."""
    account = _account(client, 1)
    process = account.process("a")
    process.join("p")
    account.now += 8.0
    process.send(reports=[process.report("answered", process.granted[0], ago=3.0)])
    process.join("p")
    account.wait(WINDOW - 3.0 - 0.001, process)
    assert len(process.tokens()) == 1
    account.wait(0.002, process)
    assert len(process.tokens()) == 2


def test_first_come_first_served_across_processes(client: Redis) -> None:
    """Turns come in the order of arrival, whichever process it was, and whoever told first."""
    account = _account(client, 1)
    holder = account.process("c")
    holder.join("p")
    first, second = account.process("a"), account.process("b")
    late = second.want("p", ago=1.0)
    early = first.want("p", ago=3.0)
    between = first.want("p", ago=2.0)
    second.send(joins=[late])
    first.send(joins=[early, between])
    order = []
    for _ in range(3):
        holder.send(reports=[holder.report("unsent", holder.granted[0])])
        for process in (first, second):
            process.send()
            if process.granted:
                order.append((process.holder[0], process.granted[0]["grant"]))
                holder.granted = [process.granted.pop()]
    assert order == [("a", early[0]), ("a", between[0]), ("b", late[0])]


def test_a_slow_letter_puts_nobody_behind_a_later_caller(client: Redis) -> None:
    """Who came with a letter that took long goes before who came while it was on its way."""
    account = _account(client, 1)
    holder, process = account.process("c"), account.process("a")
    holder.join("p")
    earlier = process.join("p")  # 0.1 s on its way, which nobody can know
    account.now += 0.01
    process.send(joins=[later := process.want("p", ago=0.05)])
    holder.send(reports=[holder.report("unsent", holder.granted[0])])
    process.tokens()
    process.send(reports=[process.report("unsent", process.granted[0])])
    assert [grant["grant"] for grant in process.granted] == [earlier, later[0]]


def test_those_of_one_moment_come_in_their_order(client: Redis) -> None:
    """Where a clock is too coarse to tell them apart, the order of a process's calls holds."""
    account = _account(client, 12)
    process = account.process("a")
    process.send(joins=[process.want("p") for _ in range(12)])
    process.tokens()
    assert [grant["grant"] for grant in process.granted] == [*range(1, 13)]


def test_who_tells_all_anew_keeps_its_place_among_others(client: Redis) -> None:
    """A process that enrols once more stands where it stood, not behind its own last caller."""
    account = _account(client, 1)
    holder, first, second = (account.process(name) for name in "cab")
    holder.join("p")
    early, late = first.want("p", ago=3.0), first.want("p", ago=1.0)
    between = second.want("p", ago=2.0)
    first.send(joins=[early, late])
    second.send(joins=[between])
    nothing: dict[str, Any] = {"flights": [], "times": [], "slots": []}
    first.send(enrols=nothing, joins=[early, late])
    holder.send(reports=[holder.report("unsent", holder.granted[0])])
    first.tokens()
    first.send(reports=[first.report("unsent", first.granted[0])])
    second.tokens()
    assert [grant["grant"] for grant in first.granted] == [early[0]]
    assert [grant["grant"] for grant in second.granted] == [between[0]]


def test_a_letter_that_comes_twice_changes_nothing(client: Redis) -> None:
    """Its answer was lost: sent again, it takes no second place, and gets the same answer."""
    account = _account(client, 10)
    process = account.process("a")
    process.send()
    lost = process.send(seen=False, joins=[process.want()])
    again = process.again()
    assert lost["letters"] == again["letters"]
    assert len(process.tokens()) == 1
    assert client.hlen(f"{PREFIX}flights") == 1


def test_what_was_granted_between_is_heard_at_the_next_letter(client: Redis) -> None:
    """A knock that got lost costs time alone: the inbox keeps what was granted until it is seen."""
    account = _account(client, 1)
    first, second = account.process("a"), account.process("b")
    first.join()
    second.join()
    first.send(reports=[first.report("unsent", first.granted[0])])
    inbox: Any = client.lrange(f"{PREFIX}inbox:{second.holder}", 0, -1)
    assert len(inbox) == 1
    assert len(second.tokens()) == 1
    second.send()
    assert client.lrange(f"{PREFIX}inbox:{second.holder}", 0, -1) == []


def test_the_dead_ones_requests_come_back_as_given_up(client: Redis) -> None:
    """A lease, `grace` and `per` after it was heard last, its room is there again; not before."""
    account = _account(client, 1)
    dead, other = account.process("a"), account.process("b")
    dead.join("p")
    other.join("p")
    account.wait(LEASE + GRACE + WINDOW - 0.001, other)
    assert other.tokens() == []
    account.wait(0.002, other)
    assert len(other.tokens()) == 1


def test_the_dead_ones_predictions_are_asked_for(client: Redis) -> None:
    """Whoever needs a slot first gets their ids as errands; one that has ended frees its slot."""
    account = _account(client, 10, concurrency=1)
    dead, other = account.process("a"), account.process("b")
    dead.join()
    slot = dead.granted[0]["slot"]
    dead.send(changes=[["name", slot, "x", True]])
    entry = other.join()
    account.now += LEASE - 0.001
    other.send()
    assert other.errands == []
    account.now += 0.002
    other.send()
    (errand,) = other.errands
    assert (errand["errand"], errand["id"], errand["age"]) == (
        entry,
        "x",
        pytest.approx(LEASE, abs=0.01),
    )
    other.send(changes=[["ask", slot, "x", 4.0]])
    account.now += 3.9
    other.send()
    assert len(other.errands) == 1
    account.now += 0.2
    other.send()
    assert len(other.errands) == 2
    other.send(changes=[["release", slot, "x"]])
    assert len(other.granted) == 1


def test_the_dead_ones_errand_goes_to_another(client: Redis) -> None:
    """Who dies while it asks for a prediction leaves that to the next."""
    account = _account(client, 10, concurrency=1)
    owner, asks, other = (account.process(name) for name in "abc")
    owner.join()
    slot = owner.granted[0]["slot"]
    asks.join()
    owner.send(changes=[["name", slot, "x", True], ["leave", slot, "x", 0.0]])
    asks.send()
    assert len(asks.errands) == 1
    account.now += LEASE - 1
    other.join()
    account.now += 2
    other.send()
    assert [errand["id"] for errand in other.errands] == ["x"]


def test_a_slot_without_an_id_is_given_up_in_the_end(client: Redis) -> None:
    """A dead one's submission that nobody can ask for keeps its slot for `abandon_after`."""
    account = _account(client, 10, concurrency=1, abandon_after=100.0)
    dead, other = account.process("a"), account.process("b")
    dead.join()
    other.join()
    for _ in range(109):
        account.now += 1.0
        assert other.tokens() == []
    account.now += 1.1
    assert len(other.tokens()) == 1


def test_a_prediction_that_two_wait_for_is_nobodys_orphan(client: Redis) -> None:
    """It is asked for only when the last process that waits for it has left or died."""
    account = _account(client, 10, concurrency=1)
    first, second, third = (account.process(name) for name in "abc")
    first.join()
    slot = first.granted[0]["slot"]
    first.send(changes=[["name", slot, "x", True]])
    second.send(changes=[["name", "b-1", "x", True]])
    third.join()
    first.send(changes=[["leave", slot, "x", 0.0]])
    third.send()
    assert third.errands == []
    second.send(changes=[["leave", "b-1", "x", 0.0]])
    third.send()
    assert len(third.errands) == 1
    second.send(changes=[["attend", "b-1", "x"]])
    third.send(changes=[["ask", slot, "x", 0.0]])
    third.send()
    assert len(third.errands) == 1
    assert client.hlen(f"{PREFIX}slots") == 1


def test_two_submissions_of_one_prediction_hold_one_slot(client: Redis) -> None:
    """A server that answers two submissions with one id frees a slot for the next."""
    account = _account(client, 10, concurrency=2)
    process = account.process("a")
    process.send(joins=[process.want(), process.want()])
    first, second = (grant["slot"] for grant in process.granted)
    process.send(changes=[["name", first, "x", True], ["name", second, "x", True]])
    assert client.hlen(f"{PREFIX}slots") == 1
    process.send(changes=[["release", second, "x"]])
    assert client.hlen(f"{PREFIX}slots") == 0
    process.send(
        changes=[["attend", first, "x"], ["ask", first, "x", 0.0], ["leave", first, "x", 0.0]]
    )
    assert client.hlen(f"{PREFIX}slots") == 0


def test_who_comes_back_from_the_dead_tells_what_it_has_in_flight(client: Redis) -> None:
    """Its loop stood still for longer than a lease: its requests count again until answered."""
    account = _account(client, 1)
    slow, other = account.process("a"), account.process("b")
    slow.join("p")
    token = slow.tokens()[0]
    other.join("p")
    account.wait(LEASE + GRACE + WINDOW - 1.0, other)
    assert slow.send()["status"] == "enrol"
    known = {"flights": [[token, 0, True]], "times": [], "slots": []}
    assert slow.send(enrols=known)["status"] == "ok"
    account.wait(2 * WINDOW, slow, other)
    assert other.tokens() == []
    slow.send(reports=[slow.report("answered", slow.granted[0])])
    account.wait(WINDOW - 0.1, slow, other)
    assert other.tokens() == []
    account.wait(0.2, slow, other)
    assert len(other.tokens()) == 1


def test_who_comes_back_tells_what_runs_and_what_counted(client: Redis) -> None:
    """Slots that are waited for are its own again, those that are not are orphans."""
    account = _account(client, 3, concurrency=2)
    process = account.process("a")
    known = {
        "flights": [["t", 0, False]],
        "times": [["u", 1.0], ["v", 2.0]],
        "slots": [["a-1", "x", 5.0, True, 0.0], ["a-2", "y", 6.0, False, 0.0]],
    }
    answer = process.send(enrols=known)
    assert (answer["used"], answer["running"], answer["free"]) == (2, 2, 1)
    process.join()
    process.send()
    assert [errand["id"] for errand in process.errands] == ["y"]
    process.send(enrols={"flights": [], "times": [], "slots": [["a-2", "y", 6.0, True, 0.0]]})
    assert client.hkeys(f"{PREFIX}slots") == ["a-2"]
    assert client.hlen(f"{PREFIX}passing") == 1  # it belongs to nobody's window


def test_another_server_waits_a_window(client: Redis) -> None:
    """After a restart or a failover nothing is granted until all that may be lost has passed."""
    account = _account(client, 1)
    process = account.process("a")
    process.join("p")
    process.send(reports=[process.report("unsent", process.granted[0])])
    account.server = "b" * 40
    assert process.send()["status"] == "enrol"
    process.send(enrols={"flights": [], "times": [], "slots": []}, joins=[process.want("p")])
    for _ in range(15):
        account.now += 5.0
        process.send()
        assert len(process.granted) == 1
    account.now += 1.0
    assert len(process.tokens()) == 2


@pytest.mark.parametrize("lags", ["the same server", "another one"])
def test_a_store_that_knows_less_than_a_process_has_seen_waits_a_window(
    client: Redis, lags: str
) -> None:
    """It was put back to an earlier state: what it has forgotten may count at the API."""
    account = _account(client, 1)
    process = account.process("a")
    process.send()
    kept: dict[str, Any] = {key: client.dump(key) for key in client.scan_iter(f"{PREFIX}*")}
    if lags == "another one":
        account.server = "b" * 40
        process.send()
        account.server = "a" * 40
    process.send()
    client.flushall()
    for key, value in kept.items():
        client.restore(key, 0, value)
    process.number += 1
    assert process.send()["status"] == "enrol"
    process.send(enrols={"flights": [], "times": [], "slots": []}, joins=[process.want()])
    account.wait(LEASE + GRACE + WINDOW - 0.1, process)
    assert process.tokens() == []
    account.wait(0.2, process)
    assert len(process.tokens()) == 1


def test_a_process_that_died_with_redis_is_honoured(client: Redis) -> None:
    """Its request is known to nobody: the empty store has waited for it when it grants."""
    account = _account(client, 1)
    dead, other = account.process("a"), account.process("b")
    dead.join("p")
    sent_at_the_latest = account.now + LEASE + GRACE
    client.flushall()
    other.join("p")
    while not other.tokens():
        account.now += 1.0
    assert account.now >= sent_at_the_latest + PER


def test_tokens_are_never_named_twice(client: Redis) -> None:
    """A store that was put back gives its tokens other names than those that it has forgotten."""
    account = _account(client, 10)
    process = account.process("a")
    process.join("p")
    client.flushall()
    process.send()
    process.send(enrols={"flights": [], "times": [], "slots": []}, joins=[process.want("p")])
    account.wait(LEASE + GRACE + WINDOW, process)
    assert len(set(process.tokens())) == 2


def test_the_clock_may_be_set_back(client: Redis) -> None:
    """The account's clock goes on from where it was: nothing counts for longer or shorter."""
    account = _account(client, 1)
    process = account.process("a")
    process.join("p")
    process.send(reports=[process.report("answered", process.granted[0])])
    account.now -= 500.0
    process.join("p")
    account.wait(WINDOW - 0.1, process)
    assert len(process.tokens()) == 1
    account.wait(0.2, process)
    assert len(process.tokens()) == 2


def test_one_pause_for_all_then_one_probe(client: Redis) -> None:
    """A 429 closes the account's gate once; then one request passes, whichever process's it is."""
    account = _account(client, 10)
    first, second = account.process("a"), account.process("b")
    first.send(joins=[first.want("p"), first.want("p")])
    refused = [first.report("limited", grant, 0.0, 7.0) for grant in first.granted]
    answer = first.send(reports=refused)
    assert (answer["opens_in"], answer["asked"], answer["pass"]) == (pytest.approx(7.0), True, 1)
    second.send(joins=[second.want("p"), second.want("p")])
    account.now += 6.9
    assert second.tokens() == []
    account.now += 0.2
    assert len(second.tokens()) == 1
    assert len(second.tokens()) == 1
    second.send(reports=[second.report("answered", second.granted[0])])
    assert len(second.tokens()) == 2


def test_a_probe_that_brings_no_answer_is_followed_by_another(client: Redis) -> None:
    """Lost, never sent, or its process dead: the next one may ask."""
    account = _account(client, 10)
    first, second = account.process("a"), account.process("b")
    first.send(joins=[first.want("p")])
    assert first.send(reports=[first.report("limited", first.granted[0])])["asked"] is False
    account.now += PER / 60 + 0.01
    second.send(
        joins=[second.want("p")] * 1 + [second.want("p"), second.want("p"), second.want("p")]
    )
    second.send(reports=[second.report("lost", second.granted[0])])
    second.send(reports=[second.report("unsent", second.granted[1])])
    assert len(second.granted) == 3
    first.join("p")
    second.send(closes=True)
    assert len(first.tokens()) == 2
    strikes = first.send(reports=[first.report("limited", first.granted[1])])
    assert strikes["opens_in"] == pytest.approx(2 * PER / 60)


def test_a_held_request_counts_by_uplink_or_its_answer(client: Redis) -> None:
    """Whichever comes first; a later answer changes nothing any more."""
    account = _account(client, 2, uplink=2.0)
    process = account.process("a")
    process.send(joins=[process.want("p"), process.want("p")])
    first, second = process.granted
    process.send(reports=[process.report("held", first), process.report("held", second)])
    account.now += 1.0
    process.send(reports=[process.report("answered", first)])
    account.wait(29.0, process)
    process.send(reports=[process.report("answered", second)])
    process.send(joins=[process.want("p"), process.want("p")])
    account.wait(WINDOW - 29.0 + 0.001, process)
    assert len(process.tokens()) == 3
    account.wait(1.0, process)
    assert len(process.tokens()) == 4


def test_a_burst_is_a_window_of_its_own(client: Redis) -> None:
    """At most `burst` in their share of `per`, over all processes."""
    account = _account(client, 12, burst=2)
    first, second = account.process("a"), account.process("b")
    for process in (first, second):
        process.send(joins=[process.want("p"), process.want("p")])
    assert (len(first.granted), len(second.granted)) == (2, 0)
    first.send(reports=[first.report("answered", grant) for grant in first.granted])
    account.now += 9.9
    assert second.tokens() == []
    account.now += 0.2
    assert len(second.tokens()) == 2


def test_submissions_go_before_polls_until_these_are_overdue(client: Redis) -> None:
    """From there on they take turns, over all processes."""
    account = _account(client, 1)
    holder, submits, polls = (account.process(name) for name in "abc")
    holder.join("p")
    submits.send(joins=[submits.want() for _ in range(6)])
    polls.send(joins=[polls.want("p", overdue=5.0) for _ in range(3)])
    order = []
    owner = holder
    for step in range(7):
        owner.send(reports=[owner.report("unsent", owner.granted.pop(0))])
        for process in (submits, polls):
            process.send()
            if process.granted:
                order.append("s" if process is submits else "p")
                owner = process
        account.now += 3.0 if step < 2 else 0.1
    assert "".join(order) == "ssspsps" or "".join(order) == "sspspsp"


def test_priority_goes_before_arrival_and_keeps_some_room(client: Redis) -> None:
    """An urgent caller goes first, and once there was one, others leave a little of the window."""
    account = _account(client, 40)
    urgent, batch = account.process("a"), account.process("b")
    urgent.send(joins=[urgent.want("p", -1) for _ in range(5)])
    batch.send(joins=[batch.want("p", 1) for _ in range(50)])
    assert len(batch.granted) == 33
    urgent.send(joins=[urgent.want("p", -1) for _ in range(2)])
    assert len(urgent.granted) == 7
    account.now += 2.0
    answer = batch.send(reports=[batch.report("answered", grant) for grant in batch.granted])
    assert answer["alarm"] == pytest.approx(PER / 60, abs=0.1)


def test_polls_that_do_not_count_need_no_room(client: Redis) -> None:
    """They pass the gate, and nothing else."""
    account = _account(client, 1)
    process = account.process("a")
    process.join("p")
    free = [next(process.entries), "p", 0, 0.0, 0, 5.0]
    process.send(joins=[free])
    assert len(process.granted) == 2
    assert process.send(reports=[process.report("answered", process.granted[1])])["used"] == 1


def test_who_leaves_the_queue_gets_no_turn(client: Redis) -> None:
    """A caller that was cancelled is passed over; one that had its turn already is no matter."""
    account = _account(client, 1)
    process = account.process("a")
    process.join("p")
    entry = process.join("p", 3)
    process.send(leaves=[[entry, "p", 3], [99, "p", 0]])
    process.send(reports=[process.report("unsent", process.granted[0])])
    assert len(process.tokens()) == 1


def test_one_process_watches_the_clock_for_all(client: Redis) -> None:
    """The others sleep; when it goes or is late, another one takes over."""
    account = _account(client, 1)
    first, second, third = (account.process(name) for name in "abc")
    first.join("p")
    first.send(reports=[first.report("answered", first.granted[0])])
    assert "alarm" not in third.send()
    first.send(joins=[first.want("p")])
    assert first.send()["alarm"] == pytest.approx(WINDOW)
    second.send(joins=[second.want("p")])
    assert "alarm" not in second.send()
    assert "alarm" not in third.send()
    first.send(closes=True)
    assert second.send()["alarm"] == pytest.approx(WINDOW)
    fourth = account.process("d")
    fourth.join("p")
    account.wait(WINDOW / 2, second, fourth)
    account.wait(LEASE + 1, fourth)
    assert fourth.send()["alarm"] == pytest.approx(WINDOW / 2 - LEASE - 1, abs=0.01)


def test_other_limits_are_refused_while_anybody_uses_the_account(client: Redis) -> None:
    """An account has one set of limits; they may change when nobody is there."""
    account = _account(client, 2)
    first, second = account.process("a"), account.process("b")
    first.send()
    answer = second.send(fingerprint="other")
    assert (answer["status"], answer["limits"]) == ("limits", str(account.limits))
    first.send(closes=True)
    second.enrolled = False
    assert second.send(fingerprint="other")["status"] == "ok"


def test_an_account_of_its_own_has_a_window_of_its_own(client: Redis) -> None:
    """All keys begin with the account's name: nothing else in Redis is touched."""
    account = _account(client, 1)
    client.set("mine", "1")
    process = account.process("a")
    process.join()
    assert [key for key in client.scan_iter() if not str(key).startswith(PREFIX)] == ["mine"]
