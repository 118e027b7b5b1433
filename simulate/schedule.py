"""What a seed means: who calls what, and what breaks when. Pure: the same seed is the same schedule, everywhere.

Strikes fall after so many requests at the bank, deaths at the nth passage of a step, so a schedule does not depend on
how fast a machine is. Which of two callers is first is not in it; nothing that is checked may depend on that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final, Literal


class ActionKind(StrEnum):
    """What a caller does. To whom and how much, it decides with its dice on what there is by then."""

    TOP_UP = "top up"
    SPLIT_TOP_UP = "split top up"
    REVOKE = "revoke top-up"
    REVOKE_SPLIT = "revoke split top-up"
    PAY_T1 = "pay T+1"
    PAY_T0 = "pay T+0"
    PREPAY = "prepay order"
    CONFIRM = "confirm order"
    CANCEL = "cancel order"
    SETTLE = "settle order"
    BATCH_PREPAY = "batch prepay"
    BATCH_CONFIRM = "batch confirm"
    BATCH_PAY = "batch pay"
    FREEZE = "freeze"
    RELEASE = "release"
    PAY_FROZEN = "pay frozen"
    REFUND = "refund"
    WITHDRAW = "withdraw"
    OPEN_MEMBER = "open member"
    CLOSE_MEMBER = "close member"
    RECORD_ORDER = "record acquired order"
    REBOOK_ORDER = "rebook acquired order"
    TRANSFER_IN = "transfer in"
    ALLOCATE_SUSPENSE = "clear suspense"
    REVERSE_ALLOCATION = "undo allocation of suspense"
    CLEAR_DAYS = "clear days"
    LOOK = "look at balances"


WEIGHTS: Final[dict[ActionKind, int]] = {
    ActionKind.TOP_UP: 3,
    ActionKind.SPLIT_TOP_UP: 1,
    ActionKind.REVOKE: 2,
    ActionKind.REVOKE_SPLIT: 1,
    ActionKind.PAY_T1: 5,
    ActionKind.PAY_T0: 2,
    ActionKind.PREPAY: 4,
    ActionKind.CONFIRM: 3,
    ActionKind.CANCEL: 2,
    ActionKind.SETTLE: 1,
    ActionKind.BATCH_PREPAY: 1,
    ActionKind.BATCH_CONFIRM: 2,
    ActionKind.BATCH_PAY: 1,
    ActionKind.FREEZE: 3,
    ActionKind.RELEASE: 1,
    ActionKind.PAY_FROZEN: 2,
    ActionKind.REFUND: 5,
    ActionKind.WITHDRAW: 3,
    ActionKind.OPEN_MEMBER: 1,
    ActionKind.CLOSE_MEMBER: 1,
    ActionKind.RECORD_ORDER: 2,
    ActionKind.REBOOK_ORDER: 1,
    ActionKind.TRANSFER_IN: 3,
    ActionKind.ALLOCATE_SUSPENSE: 2,
    ActionKind.REVERSE_ALLOCATION: 1,
    ActionKind.CLEAR_DAYS: 1,
    ActionKind.LOOK: 1,
}

STORIES: Final = (
    (ActionKind.TRANSFER_IN, ActionKind.ALLOCATE_SUSPENSE, ActionKind.REVERSE_ALLOCATION),
    (ActionKind.SPLIT_TOP_UP, ActionKind.REVOKE_SPLIT, ActionKind.REVOKE_SPLIT),
    (ActionKind.FREEZE, ActionKind.PAY_FROZEN, ActionKind.REFUND),
    (ActionKind.BATCH_PREPAY, ActionKind.BATCH_CONFIRM, ActionKind.REFUND),
    (ActionKind.PREPAY, ActionKind.SETTLE, ActionKind.REFUND),
    (ActionKind.BATCH_PAY, ActionKind.REFUND, ActionKind.REFUND),
    (ActionKind.RECORD_ORDER, ActionKind.REBOOK_ORDER, ActionKind.REFUND),
    (ActionKind.OPEN_MEMBER, ActionKind.PAY_T1, ActionKind.CLOSE_MEMBER),
)
"""What makes sense only one after the other; the last caller plays one of these, so that the rare is not too rare."""

CALM_STORIES: Final = (
    (ActionKind.ALLOCATE_SUSPENSE, ActionKind.REVERSE_ALLOCATION),
    (ActionKind.BATCH_PREPAY, ActionKind.BATCH_CONFIRM, ActionKind.REFUND),
    (ActionKind.SPLIT_TOP_UP, ActionKind.REVOKE_SPLIT, ActionKind.PAY_T0),
    (ActionKind.FREEZE, ActionKind.PAY_FROZEN, ActionKind.REFUND),
    (ActionKind.PREPAY, ActionKind.SETTLE, ActionKind.REFUND),
    (ActionKind.ALLOCATE_SUSPENSE, ActionKind.REVERSE_ALLOCATION),
    (ActionKind.BATCH_PREPAY, ActionKind.BATCH_CONFIRM, ActionKind.REFUND),
    (ActionKind.RECORD_ORDER, ActionKind.REBOOK_ORDER),
    (ActionKind.OPEN_MEMBER, ActionKind.CLOSE_MEMBER, ActionKind.BATCH_PAY, ActionKind.REFUND),
    (
        ActionKind.PREPAY,
        ActionKind.CONFIRM,
        ActionKind.REFUND,
        ActionKind.PREPAY,
        ActionKind.CANCEL,
        ActionKind.FREEZE,
        ActionKind.RELEASE,
    ),
)
"""One of these in turn is played in each seed when nothing breaks any more, each step of what the one before it made:
so ten seeds in a row do everything that can be asked for, whatever the dice say.
"""

SPENDS: Final = (
    ActionKind.REFUND,
    ActionKind.REFUND,
    ActionKind.PAY_T1,
    ActionKind.FREEZE,
    ActionKind.PREPAY,
    ActionKind.BATCH_PREPAY,
    ActionKind.BATCH_PAY,
    ActionKind.REVOKE,
    ActionKind.REVOKE_SPLIT,
)
"""What takes of a member's available money, whichever day it is of."""

SENDER: Final = "SimulatedService"
"""A public field in which each service tells the bank which it is."""

BANK_PATIENCE_S: Final = 0.6
"""How long the service waits for the bank's answer."""

LATE_S: Final = 0.9
"""How long a bank that keeps the service waiting takes; longer than it waits, and far shorter than it asks."""

FAULTS: Final = (
    "lose_before",
    "lose_after",
    f"delay:{LATE_S}",
    f"act_late:{LATE_S}",
    "http500",
    "bad_signature",
    "no_signature",
    "malformed",
    "folded",
    "token_expired",
    "expire_flag",
    "expire_flag_alone",
    "duplicate_delivery",
    "duplicate_late:2",
    "err957",
    "answer:ERR248",
    "answer:ERR777",
    "refuse:ERR044",
    "refuse:ERR108",
    "refuse:ERR777",
    "refuse:ERR923",
)
"""What may strike any call: the sandbox's words (`sandbox.faults`)."""

NOT_FOUND_FIRST: Final = "not_found_first"
"""May come with a lost answer: the first questions find nothing."""

QUESTIONED: Final = ("6110", "6110", "6072", "6092", "6108", "6108", "6048", "6050", "6146", "6147", "approveDev")
"""Interfaces whose answers get lost too: the resolver's, those of what the bank does by itself, and the token's."""

SILENT_KINDS: Final = (
    ActionKind.LOOK,
    ActionKind.CLEAR_DAYS,
    ActionKind.TRANSFER_IN,
    ActionKind.CLOSE_MEMBER,
    ActionKind.RECORD_ORDER,
    ActionKind.REVOKE_SPLIT,
)
"""Requests without a text in which a fault could be asked for."""

CLOCKS_OFF_S: Final = (0.0, 0.0, 2.0, 5.0, 20.0, 60.0, 300.0, 600.0)

LOST: Final = ("lose_after",)
"""What leaves a call of that morning in doubt, and is known soon."""

IN_PART: Final = ("part_of_batch", "lose_after")
"""The bank does a part of a batch, and its answer is lost."""

PROOFS: Final = ("none", "sms", "password")
"""How members authorise what they pay in the night; in turn."""

QUESTION_FAULTS: Final = (
    "lose_after",
    "http500",
    "bad_signature",
    f"delay:{LATE_S}",
    "token_expired",
    "malformed",
    "folded",
)


class Manner(StrEnum):
    """How a caller waits for its answer."""

    PATIENT = "patient"
    SHORT = "short deadline"
    GONE = "gone"
    TWICE = "twice at once"
    CLASH = "twice at once, with other content"
    CHECK_ONLY = "check only"


class Point(StrEnum):
    """Where a service dies by SIGKILL."""

    BEFORE_RESERVE = "before reserve"
    AFTER_RESERVE = "after reserve"
    AFTER_SEND = "after send"
    AFTER_ANSWER = "after answer"
    IN_SETTLE = "in settle"
    IN_RESOLVE = "in resolve"


class Blow(StrEnum):
    """What strikes everybody."""

    POSTGRES_KILLED = "PostgreSQL killed"
    POSTGRES_RESTARTED = "PostgreSQL restarted"
    CUT_BEFORE_COMMIT = "connection cut before the commit"
    CUT_IN_COMMIT = "connection cut between batch and commit"
    CUT_AFTER_COMMIT = "connection cut after the commit"
    TOKENS_EXPIRE = "tokens expire"
    CLEARING_HELD = "clearing held"
    CLEARING_FREE = "clearing free again"
    DAY_ENDS = "day ends"
    CLEARING_STAYS = "day ends, and its clearing stays 3"
    SERVICE_STOPS = "SIGTERM to a service, and callers who repeat what is done"


FALLING: Final = tuple(blow for blow in Blow if blow is not Blow.SERVICE_STOPS)


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that a caller does, after a pause."""

    kind: ActionKind
    dice: int
    faults: tuple[str, ...]
    manner: Manner
    wait_s: float
    """A short deadline, or when the caller is gone."""
    pause_s: float

    @property
    def remark(self) -> str:
        """The faults as the sandbox reads them out of a remark."""
        return "".join(f"[[{fault}]]" for fault in self.faults)


@dataclass(frozen=True, slots=True)
class Night:
    """A night in which the bank clears a day, and a morning in which nobody has heard of it yet: 6108 is not answered.

    The same buyer and merchant act all the time, one call after the other, so that money of both days meets. The bank
    clears after so many calls of the morning: 0 is in the night itself.
    """

    spends: Literal["waiting_first", "withdrawable_first"]
    """Which money the bank takes first, and which the services are told that it does."""
    evening: tuple[Action, ...]
    morning: tuple[Action, ...]
    cleared_after: int


@dataclass(frozen=True, slots=True)
class Death:
    """A service dies at the nth passage of a point, ``late_s`` after it."""

    service: int
    point: Point
    nth: int
    late_s: float


@dataclass(frozen=True, slots=True)
class Strike:
    """A blow falls after the bank has been reached so often."""

    blow: Blow
    after: int


@dataclass(frozen=True, slots=True)
class QueryFault:
    """An answer to one of the service's own questions goes wrong, after so many went right."""

    code: str
    fault: str
    after: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """Everything that a seed decides."""

    seed: int
    services: int
    own_funds_fen: int
    """What the platform has to advance fees from; in some seeds it does not last."""
    callers: tuple[tuple[Action, ...], ...]
    deaths: tuple[Death, ...]
    strikes: tuple[Strike, ...]
    questions: tuple[QueryFault, ...]
    clocks_s: tuple[float, ...]
    """How fast the clock of each service is, in seconds; slow, below 0. PostgreSQL and the bank have another one."""
    night: Night

    def lines(self) -> Iterator[str]:
        """The schedule to be read by a person."""
        yield f"seed {self.seed}: {self.services} service(s), {len(self.callers)} callers, {self.own_funds_fen} fen own"
        for number, ahead_s in enumerate(self.clocks_s):
            if ahead_s:
                yield f"  the clock of service {number} is {ahead_s:+g} s off"
        for death in self.deaths:
            yield f"  service {death.service} dies at passage {death.nth} of: {death.point}, {death.late_s:g} s late"
        for strike in self.strikes:
            yield f"  after {strike.after} requests at the bank: {strike.blow}"
        for question in self.questions:
            yield f"  question {question.code} after {question.after}: {question.fault}"
        for number, actions in enumerate(self.callers):
            for action in actions:
                told = f"  caller {number}: {action.kind} (dice {action.dice}), {action.manner}"
                yield f"{told} {action.wait_s:g} s {action.remark}".rstrip()
        night = self.night
        yield f"  in the end, {night.spends}: the bank clears after {night.cleared_after} calls of the morning"
        for when, actions in (("evening", night.evening), ("morning", night.morning)):
            for action in actions:
                yield f"  {when}: {action.kind} (dice {action.dice}) {action.remark}".rstrip()


def of_seed(seed: int, callers: int = 9, actions: int = 5) -> Schedule:
    """The schedule of a seed.

    Whatever the dice say, one seed in five has a death, one in five the database's end, one in five a lost answer where
    nothing can prevent it, and one in ten a clearing that stays 3: so each ten seeds in a row have all four.
    """
    dice = Random(seed)
    services = 1 + (dice.random() < 0.3)
    listed = [[_action(dice) for _ in range(actions)] for _ in range(callers)]
    listed.append([_action(dice, kind) for kind in dice.choice(STORIES)])
    if seed % 5 == 2:
        listed[0][0] = Action(ActionKind.TOP_UP, dice.randrange(2**32), ("lose_after",), Manner.PATIENT, 0.0, 0.0)
    deaths = [_death(dice, services) for _ in range(dice.choice((0, 1, 1, 2)))]
    if seed % 5 == 0:
        points = (Point.BEFORE_RESERVE, Point.AFTER_RESERVE, Point.AFTER_SEND, Point.AFTER_ANSWER, Point.IN_SETTLE)
        deaths.append(Death(0, dice.choice(points), dice.randint(1, 8), 0.0))
    strikes = [Strike(dice.choice(FALLING), dice.randint(10, 90)) for _ in range(dice.choice((0, 1, 2, 3)))]
    if seed % 5 == 1:
        strikes.append(Strike(dice.choice((Blow.POSTGRES_KILLED, Blow.POSTGRES_RESTARTED)), dice.randint(10, 40)))
    if seed % 10 == 3:
        strikes.append(Strike(Blow.CLEARING_STAYS, dice.randint(10, 30)))
    strikes += _stops(seed)
    return Schedule(
        seed=seed,
        services=services,
        own_funds_fen=dice.choice((300, 3_000, 100_000_000)),
        callers=tuple(map(tuple, listed)),
        deaths=tuple(deaths),
        strikes=tuple(sorted(strikes, key=lambda strike: strike.after)),
        questions=tuple(
            QueryFault(dice.choice(QUESTIONED), dice.choice(QUESTION_FAULTS), dice.randint(0, 4))
            for _ in range(dice.choice((0, 1, 2, 3)))
        ),
        clocks_s=_clocks(seed, services),
        night=_night(seed),
    )


def _stops(seed: int) -> list[Strike]:
    """One service in three seeds is told to stop."""
    # Of dice of their own, as the clocks.
    dice = Random(f"stops {seed}")
    return [Strike(Blow.SERVICE_STOPS, dice.randint(15, 60))] if dice.random() < 1 / 3 else []


def _clocks(seed: int, services: int) -> tuple[float, ...]:
    """How far each service's clock is off: one in four is right, the others are off by up to ten minutes."""
    # Of dice of their own: the same seed plays the same market as before clocks were wrong.
    dice = Random(f"clocks {seed}")
    return tuple(dice.choice((-1, 1)) * dice.choice(CLOCKS_OFF_S) for _ in range(services))


def _night(seed: int) -> Night:
    # Dice of its own: what else a seed means does not depend on it.
    dice = Random(f"night of {seed}")
    bought = (ActionKind.TOP_UP, ActionKind.SPLIT_TOP_UP, ActionKind.PAY_T1)
    spent = tuple(dice.choice(SPENDS) for _ in range(4))
    morning = tuple(
        _calm(dice, kind, LOST if kind in spent and dice.random() < 0.15 else ())
        for kind in (ActionKind.TOP_UP, ActionKind.PAY_T1, *spent)
    )
    if seed % 10 == 4:
        morning = (*morning, _calm(dice, ActionKind.BATCH_PREPAY, IN_PART))
    return Night(
        spends="withdrawable_first" if seed % 4 == 0 else "waiting_first",
        evening=tuple(_calm(dice, kind) for kind in (*bought, *CALM_STORIES[seed % len(CALM_STORIES)])),
        morning=morning,
        cleared_after=dice.choice((0, 0, 0, 3, 4)),
    )


def _calm(dice: Random, kind: ActionKind, faults: tuple[str, ...] = ()) -> Action:
    silent = kind in SILENT_KINDS
    return Action(kind, dice.randrange(2**32), () if silent else faults, Manner.PATIENT, 0.0, 0.0)


def _action(dice: Random, kind: ActionKind | None = None) -> Action:
    chosen = kind or dice.choices(tuple(WEIGHTS), tuple(WEIGHTS.values()))[0]
    manner = dice.choices(tuple(Manner), (12, 2, 2, 2, 1, 1))[0]
    wait_s = {Manner.SHORT: dice.uniform(0.05, 0.7), Manner.GONE: dice.uniform(0.005, 0.4)}.get(manner, 0.0)
    return Action(
        kind=chosen,
        dice=dice.randrange(2**32),
        faults=() if chosen in SILENT_KINDS else _faults(dice, chosen),
        manner=manner,
        wait_s=round(wait_s, 3),
        pause_s=round(dice.choice((0.0, 0.0, 0.0, dice.uniform(0.0, 0.1))), 3),
    )


def _faults(dice: Random, kind: ActionKind) -> tuple[str, ...]:
    own: tuple[str, ...] = ()
    if kind is ActionKind.WITHDRAW and dice.random() < 0.4:
        own = (dice.choice(("withdrawal_fail", "withdrawal_return")),)
    if kind is ActionKind.REFUND and dice.random() < 0.2:
        own = (f"history:{dice.randint(1, 3)}",)
    if dice.random() > 0.35:
        return own
    fault = dice.choice(FAULTS)
    is_lost = fault in ("lose_after", "bad_signature", "no_signature", "malformed", "folded")
    hidden = (f"{NOT_FOUND_FIRST}:{dice.randint(1, 2)}",) if is_lost and dice.random() < 0.3 else ()
    return (*own, fault, *hidden)


def _death(dice: Random, services: int) -> Death:
    point = dice.choice(tuple(Point))
    nth = dice.randint(1, 4 if point is Point.IN_RESOLVE else 25)
    return Death(dice.randrange(services), point, nth, dice.choice((0.0, 0.0, 0.001, 0.004)))
