"""Brings books that were restored from a copy up to the bank, which went on: reads what every sub-account has now
(6010, 6037, 6093) and what was booked since (6072, 6073), enters the differences, and reports what explains them.

Balances become exactly the bank's. The bank lists amounts and sub-accounts of what was lost, but neither request
ids, nor orders, nor the fee of a payment. So lost payments cannot be refunded through these books, and whoever sent a
request in that time must not send it again before looking at the list. What no transaction explains is listed too.

A member is adjusted in one commit, together with what is reported of it: a run that was cut short is run again and
reports both. The run ends when a pass over everything finds no difference.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, TypeVar

import uuid_utils

from bankclient import (
    AnswerOutcome,
    BankClient,
    EscrowBalance,
    FindSubAccount,
    SubAccountBalancesRow,
    yuan,
)
from jzb.v1.names import ErrorReason
from ledger import CATCH_UP, Account, Cards, CardState, Change, Draft, Kind, Leg, Member, Reads, State
from ledger.accounts import (
    FEE,
    OWN_FUNDS,
    POOLED,
    WITHDRAWING,
    escrow,
    frozen,
    in_transit,
    parking,
    suspense,
    uncleared,
    withdrawable,
)
from ledger.names import NO_MEMBER_CODE, NO_SUB_ACCOUNT, BankSerial, MemberCode, SubAccount
from service.bankday import bank_day_of, bank_today, days_now
from service.inflows.card_list import differences as card_differences
from service.inflows.clearing import Clearing
from service.inflows.collector import collect_all
from service.inflows.recorder import Key, Recorder
from service.inflows.returns import Returns
from service.inflows.transfers import Transfers
from service.path.resolver import Resolver
from service.problems import Problem
from service.questions.balances import COMPARED_PROPERTIES, balances_of
from service.questions.booked import BOOKING_TYPES
from service.questions.calls import query_bank
from service.questions.cards import listed_cards
from service.questions.conflicts import sub_account_conflict
from service.questions.members import NO_MEMBER
from service.recovery.lost import REFUND, REVOCATION, SKEW, TOP_UP, KnownBookings, Lost, bookings_at_bank
from service.settings import RulesSettings
from service.vault import Vault

PASSES_MAX: Final = 10
"""How often everything is looked at while the bank does not stand still: returns, transfers, the night's clearing."""

MEMBERS_AT_ONCE: Final = 8
"""Members whose questions are under way at the bank at once."""

MEMBERS_A_PAGE: Final = 200

T = TypeVar("T")
R = TypeVar("R")


class CatchUpStopped(Exception):
    """The books could not be brought up to the bank now; they stay closed, nothing is lost by trying again."""


@dataclass(frozen=True, slots=True)
class AccountChange:
    """An account that was brought to what the bank says, in fen. ``member_id`` is empty for the platform's own."""

    account: str
    member_id: MemberCode
    before_fen: int
    after_fen: int


@dataclass(slots=True)
class CaughtUp:
    """What came of it, in this run and in those before on the same copy.

    ``unexplained`` is for people: each names an account, an amount and what is odd about it.
    """

    since: datetime
    lost: dict[tuple[str, str], Lost] = field(default_factory=dict)
    account_changes: list[AccountChange] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Entry:
    """What one commit changes, and what is kept with it to be reported again.

    ``lacked_fen`` is what of the member's incoming money went to the platform, as far as one can tell: fees.
    """

    member_id: MemberCode
    legs: list[Leg] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    lacked_fen: int = 0
    account_changes: list[AccountChange] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    members: tuple[Member, ...] = ()

    def move(self, account: Account, before_fen: int, by_fen: int) -> None:
        """Bring an account up or down; the money comes from outside, or goes there."""
        self.legs.append(Leg(POOLED, account, by_fen) if by_fen > 0 else Leg(account, POOLED, -by_fen))
        self.account_changes.append(AccountChange(account.name, self.member_id, before_fen, before_fen + by_fen))

    @property
    def is_needed(self) -> bool:
        """Whether there is something to commit."""
        return bool(self.legs or self.lost or self.members or self.unexplained)


@dataclass(frozen=True, slots=True)
class _AtBank:
    """What the bank says of a member: what it has, None when its sub-account was closed; and what was booked."""

    member: Member
    balances: Mapping[Kind, int] | None
    booked: Sequence[tuple[Lost, int]] = ()


@dataclass(eq=False, kw_only=True)
class CatchUp:
    """One run over all open members and the platform's own accounts. Nothing else may write to the books meanwhile."""

    since: datetime
    reads: Reads
    bank: BankClient
    recorder: Recorder
    resolver: Resolver
    clearing: Clearing
    returns: Returns
    transfers: Transfers
    cards: Cards
    vault: Vault
    rules: RulesSettings

    def __post_init__(self) -> None:
        self._lost: dict[tuple[str, str], Lost] = {}
        self._standing: list[str] = []
        self._entries: list[_Entry] = []
        self._recorded_serials: dict[str, set[str]] = {}
        self._known = KnownBookings(set(), (), self.since)
        self._platforms_own: set[str] = set()
        self._fee_accounts: set[str] = set()

    async def run(self, patience_s: float, opened: Mapping[MemberCode, str]) -> CaughtUp:
        """``opened`` are members that were opened since, with their property (00 or SH), which the bank does not list.

        Raises `CatchUpStopped` when operations of the copy are still in doubt after ``patience_s``, or the bank does
        not stand still; `Problem` when it does not answer.
        """
        if not await self.clearing.enter_opening_balance():
            raise CatchUpStopped("the bank does not answer (6010); try again later")
        for operation in await self.reads.caught_up(self._since_text):
            self._remember(_entry_of(operation.payee, await self.reads.plan(operation)))
        await self._rest(patience_s)
        not_found = [await self._find(*one) for one in opened.items()]
        for _ in range(PASSES_MAX):
            self._standing = [line for line in not_found if line]
            if not await self._pass():
                return self._caught_up()
        raise CatchUpStopped(f"the bank has not stood still in {PASSES_MAX} looks at everything; run this again")

    def _caught_up(self) -> CaughtUp:
        explained = [line for entry in self._entries for line in entry.unexplained]
        return CaughtUp(
            self.since,
            self._lost,
            [change for entry in self._entries for change in entry.account_changes],
            list(dict.fromkeys([*explained, *self._standing])),
        )

    async def _pass(self) -> bool:
        """Compare everything once and enter what differs; whether anything did."""
        before = len(self._entries)
        reads = self.reads
        self._lost = {}
        accepted = await reads.open_operations()
        await _each(list(accepted), self.resolver.resolve_now)
        is_moving = await self._enter_inflows() or accepted != await reads.open_operations()
        await self._learn_what_is_known()
        after = ""
        while members := await reads.members_page(after, MEMBERS_A_PAGE):
            is_moving |= await self._members([member for member in members if member.is_open])
            after = members[-1].member_id
        await self._functional()
        await self._unknown_sub_accounts()
        return is_moving or len(self._entries) > before

    async def _rest(self, patience_s: float) -> None:
        """The resolver ends what was open when the copy was made, by 6110 and its other questions."""
        reads, resolver, ends_s = self.reads, self.resolver, time.monotonic() + patience_s
        while doubted := [one for one, state in (await reads.open_operations()).items() if state is not State.ACCEPTED]:
            if time.monotonic() > ends_s:
                raise CatchUpStopped(
                    f"{len(doubted)} operations of the copy are still in doubt at the bank, the first is {doubted[0]};"
                    " run this again later"
                )
            await asyncio.sleep(0.2)
        # From now on nothing moves by itself.
        resolver.rest()

    async def _enter_inflows(self) -> bool:
        """What has come in by itself since, entered once each as always: transfers (6050), returns (6048), clearings
        (6108). Whether there was anything.
        """
        reads = self.reads
        first, last = bank_day_of(self.since - SKEW), days_now()[1]
        cleared = await reads.cleared_through()
        entered = sum(
            [await collect_all(collect, first, last) for collect in (self.transfers.collect, self.returns.collect)]
        )
        await self.clearing.clear_past_days()
        return bool(entered) or cleared != await reads.cleared_through()

    async def _learn_what_is_known(self) -> None:
        serials, parts = await self.reads.booked_since(self.since - 2 * SKEW)
        codes = {side for _, part in parts for side in (part.payer, part.payee) if side}
        members = await self.reads.members(codes) if codes else {}

        def sub_account(member_id: MemberCode) -> SubAccount:
            return members[member_id].sub_account if member_id in members else NO_SUB_ACCOUNT

        moved = [
            (
                *(sub_account(part.payer), sub_account(part.payee), part.amount_fen),
                part.order_no if kind in BOOKING_TYPES else "",
            )
            for kind, part in parts
        ]
        self._known = KnownBookings(serials, moved, self.since + SKEW)
        rows = await self._platforms_rows()
        self._platforms_own = {row.SubAcctNo for row in rows}
        self._fee_accounts = {row.SubAcctNo for row in rows if COMPARED_PROPERTIES.get(row.SubAcctProperty) is Kind.FEE}

    async def _find(self, member_id: MemberCode, member_property: str) -> str:
        """Record a member that was opened since (6092); a line when there is none."""
        if await self.reads.member(member_id) is None:
            sub_account = await self._sub_account_of(member_id)
            if sub_account is None:
                return f"member {member_id}: the bank has no sub-account of that code"
            member = Member(member_id=member_id, sub_account=sub_account, property=member_property)
            if conflict := await sub_account_conflict(self.reads, (member,)):
                return conflict
            await self._enter(_Entry(member_id, members=(member,)))
        return ""

    async def _sub_account_of(self, member_id: MemberCode) -> SubAccount | None:
        """The sub-account behind a code (6092), None when the bank has none."""
        answer = await self.bank.call(FindSubAccount(TranNetMemberCode=member_id))
        if answer.reply is not None:
            return SubAccount(answer.reply.SubAcctNo)
        if answer.outcome is AnswerOutcome.REFUSED and answer.code in NO_MEMBER:
            return None
        raise CatchUpStopped(f"6092 has no answer for member {member_id}; run this again later")

    async def _unknown_sub_accounts(self) -> None:
        """Sub-accounts that took part in what was lost, and are nobody's here: their members were opened since."""
        named = {side for one in self._lost.values() for side in (one.payer, one.payee) if side}
        known = await self.reads.members_by_sub_account(named)
        for sub_account in sorted(named - known.keys() - self._platforms_own):
            self._standing.append(
                f"sub-account {sub_account} is of no member here: name the member that was opened since with --member"
            )

    async def _members(self, members: Sequence[Member]) -> bool:
        """Enter what differs; whether an inflow came in while the bank was queried.

        What comes in between a member's balance and its own list would be counted twice: so inflows are read again
        before anything is changed.
        """
        at_bank = await _each(members, self._read_at_bank)
        is_moving = False
        while await self._enter_inflows():
            is_moving = True
            at_bank = await _each(members, self._read_at_bank)
        for one in at_bank:
            await self._adjust(one)
        return is_moving

    async def _read_at_bank(self, member: Member) -> _AtBank:
        bank, sub_account = self.bank, member.sub_account
        try:
            stated, assured = await asyncio.gather(
                balances_of(bank, member), query_bank(bank, EscrowBalance(SubAcctNo=sub_account))
            )
        except Problem as refused:
            if refused.reason != ErrorReason.BANK_REFUSED or await self._sub_account_of(member.member_id) is not None:
                raise
            return _AtBank(member, None)
        if stated is None or assured is None:
            if await self._sub_account_of(member.member_id) is not None:
                raise CatchUpStopped(f"6010, 6037 or 6093 has no record of {sub_account}; run this again later")
            return _AtBank(member, None)
        row, frozen_now = stated
        frozen_fen, escrow_fen = frozen_now.SubAcctFreezeAmt, assured.SubAcctAssureAmt - frozen_now.SubAcctFreezeAmt
        if self.rules.frozen_amount_includes_escrow:
            # The bank tells only the sum of both.
            mirror = (await self.reads.balances([sub_account]))[sub_account]
            frozen_fen, escrow_fen = frozen_now.SubAcctFreezeAmt - mirror.escrow_fen, mirror.escrow_fen
        balances = {
            Kind.WITHDRAWABLE: row.CashAmt,
            Kind.UNCLEARED: row.AcctAvailBal - row.CashAmt,
            Kind.FROZEN: frozen_fen,
            Kind.ESCROW: escrow_fen,
        }
        await self._compare_cards(member)
        return _AtBank(member, balances, await bookings_at_bank(bank, sub_account, self.since))

    async def _compare_cards(self, member: Member) -> None:
        known = await self.cards.of_member(member.member_id, (CardState.CHECKING, CardState.BOUND))
        listed = await listed_cards(self.bank, member.sub_account)
        rows = listed.rows
        if not listed.is_complete or not (rows or known):
            return
        vault = self.vault
        if not vault.is_open or not all(vault.knows(card.key_id) for card in known):
            self._standing.append(f"member {member.member_id}: its cards cannot be compared without JZB_VAULT__KEYS")
            return
        new, changes = card_differences(rows, known, member, vault)
        if new or changes:
            self._standing.append(
                f"member {member.member_id}: the bank's list of its cards differs by {len(new) + len(changes)};"
                " CardService.RefreshCards takes it over"
            )

    async def _adjust(self, at_bank: _AtBank) -> None:
        member = at_bank.member
        pockets = await self.reads.pockets(member.sub_account)
        mirror = (await self.reads.balances([member.sub_account]))[member.sub_account]
        balances = at_bank.balances or dict.fromkeys((Kind.WITHDRAWABLE, Kind.UNCLEARED, Kind.FROZEN, Kind.ESCROW), 0)
        differences = {
            Kind.WITHDRAWABLE: balances[Kind.WITHDRAWABLE] - mirror.withdrawable_fen,
            Kind.UNCLEARED: balances[Kind.UNCLEARED] - mirror.uncleared_fen,
            Kind.FROZEN: balances[Kind.FROZEN] - mirror.frozen_fen,
            Kind.ESCROW: balances[Kind.ESCROW] - mirror.escrow_fen,
        }
        lost = [(one, effect) for one, effect in at_bank.booked if not self._known.contains(one, self._platforms_own)]
        self._lost.update({(one.bank_serial, one.kind): one for one, _ in lost})
        recorded = self._recorded_serials.get(member.member_id, set())
        new = [(one, effect) for one, effect in lost if one.bank_serial not in recorded]
        entry = _Entry(member.member_id, lost=sorted({one.bank_serial for one, _ in new}))
        if at_bank.balances is None:
            entry.members = (replace(member, is_open=False),)
            entry.unexplained.append(
                f"member {member.member_id}: its sub-account {member.sub_account} was closed at the bank since, and is"
                " closed here now; of what was booked on it the bank tells nothing"
            )
        else:
            self._explain(entry, member, differences[Kind.WITHDRAWABLE] + differences[Kind.UNCLEARED], new)
        day = _uncleared(await self.reads.cleared_through(), [one for one, _ in lost])
        self._move(entry, member, differences, pockets, day)
        await self._enter(entry)

    def _explain(self, entry: _Entry, member: Member, difference_fen: int, lost: Collection[tuple[Lost, int]]) -> None:
        """Compare a difference with what was booked. What a payee lacks may be a fee, what it has left of a refund a
        fee that was given back; the bank tells of neither.
        """
        expected_fen = incoming_fen = refunded_fen = 0
        for one, effect_fen in lost:
            expected_fen += effect_fen
            incoming_fen += max(effect_fen, 0)
            if one.kind == REFUND:
                refunded_fen += max(-effect_fen, 0)
            elif one.kind == TOP_UP:
                entry.lacked_fen += one.amount_fen - effect_fen
            elif one.kind == REVOCATION:
                entry.lacked_fen -= one.amount_fen + effect_fen
            elif one.payee in self._fee_accounts:
                entry.lacked_fen += one.amount_fen
        rest_fen = difference_fen - expected_fen
        if -incoming_fen <= rest_fen <= refunded_fen:
            entry.lacked_fen -= rest_fen
        else:
            entry.unexplained.append(
                f"member {member.member_id}, sub-account {member.sub_account}: its available money differs by"
                f" {yuan(difference_fen)}, what was booked explains {yuan(expected_fen)}"
            )

    def _move(
        self,
        entry: _Entry,
        member: Member,
        differences: Mapping[Kind, int],
        pockets: Mapping[Account, int],
        day: date,
    ) -> None:
        sub_account = member.sub_account
        rises = {
            Kind.WITHDRAWABLE: withdrawable(sub_account),
            Kind.UNCLEARED: uncleared(sub_account, day),
            Kind.FROZEN: frozen(sub_account, self._order),
            Kind.ESCROW: escrow(sub_account, self._order),
        }
        for kind, difference_fen in differences.items():
            is_of_orders = kind in (Kind.FROZEN, Kind.ESCROW)
            if difference_fen > 0:
                entry.move(rises[kind], pockets.get(rises[kind], 0), difference_fen)
                if is_of_orders:
                    entry.unexplained.append(_guessed(f"member {member.member_id}", rises[kind], difference_fen))
            elif difference_fen < 0:
                self._fall(entry, f"member {member.member_id}", kind, pockets, -difference_fen, is_guess=is_of_orders)

    def _fall(
        self, entry: _Entry, whose: str, kind: Kind, pockets: Mapping[Account, int], fen: int, *, is_guess: bool
    ) -> None:
        """Money that is gone: of several pockets of a kind from the fullest on, a guess where they are orders."""
        ordered = sorted((one for one in pockets if one.kind is kind), key=lambda one: (-pockets[one], one))
        for pocket in ordered:
            drawn_fen = min(fen, pockets[pocket])
            if drawn_fen > 0:
                entry.move(pocket, pockets[pocket], -drawn_fen)
                if is_guess:
                    entry.unexplained.append(_guessed(whose, pocket, -drawn_fen))
                fen -= drawn_fen
        if fen:
            self._standing.append(
                f"{whose}: the bank has {yuan(fen)} less {kind.value} money than these books can give"
            )

    async def _platforms_rows(self) -> list[SubAccountBalancesRow]:
        listed = await self.clearing.functional_accounts()
        if listed is None:
            raise CatchUpStopped("6010 did not answer for the platform's own accounts; run this again later")
        return listed

    async def _functional(self) -> None:
        """The platform's own accounts."""
        reads, rules = self.reads, self.rules
        properties = COMPARED_PROPERTIES | {
            rules.own_funds_property: Kind.OWN_FUNDS,
            rules.parking_property: Kind.PARKING,
        }
        bank: Counter[Kind] = Counter()
        for row in await self._platforms_rows():
            if (kind := properties.get(row.SubAcctProperty)) is not None:
                bank[kind] += row.AcctAvailBal
        mirror = await reads.functional()
        pockets = await reads.pockets(NO_SUB_ACCOUNT, (Kind.SUSPENSE, Kind.PARKING, Kind.OWN_FUNDS))
        cleared = await reads.cleared_through()
        top_up_day = _uncleared(cleared, [one for one in self._lost.values() if one.kind == TOP_UP])
        accounts = {
            Kind.FEE: FEE,
            Kind.OWN_FUNDS: OWN_FUNDS,
            Kind.WITHDRAWING: WITHDRAWING,
            Kind.IN_TRANSIT: in_transit(top_up_day),
            Kind.SUSPENSE: suspense(BankSerial(self._order)),
            Kind.PARKING: parking(self._order),
        }
        entry = _Entry(NO_MEMBER_CODE)
        for day in await reads.waiting_days():
            if cleared is not None and day.bank_day <= cleared and day.in_transit_fen:
                # What the channels paid for that day is what the bank says; top-ups of it are lost here.
                entry.move(in_transit(day.bank_day), -day.in_transit_fen, day.in_transit_fen)
                mirror[Kind.IN_TRANSIT] += day.in_transit_fen
        for kind in bank:
            before_fen = mirror.get(kind, 0)
            difference_fen = bank[kind] - before_fen
            if not difference_fen:
                continue
            is_guess = kind in (Kind.SUSPENSE, Kind.PARKING)
            if kind is Kind.WITHDRAWING:
                self._move_withdrawing(entry, before_fen, difference_fen)
            elif accounts[kind].floor is not None and difference_fen < 0:
                self._fall(entry, kind.value, kind, pockets, -difference_fen, is_guess=is_guess)
            else:
                entry.move(accounts[kind], pockets.get(accounts[kind], before_fen), difference_fen)
                if is_guess:
                    entry.unexplained.append(_guessed(kind.value, accounts[kind], difference_fen))
        await self._enter(entry)
        # What a payee lacks is in the fees; what a refund gives back of a fee may be advanced from own funds (6164).
        kept_fen = sum(self._raised_fen(account.name) for account in (FEE, OWN_FUNDS))
        lacked_fen = sum(one.lacked_fen for one in self._entries)
        if kept_fen != lacked_fen:
            self._standing.append(
                f"fee and own funds: they differ by {yuan(kept_fen)} together, the payees lack {yuan(lacked_fen)}"
            )

    def _move_withdrawing(self, entry: _Entry, before_fen: int, difference_fen: int) -> None:
        """Withdrawals under way: those that are lost here end at the bank alone, the others by the bank's answers."""
        if difference_fen > 0:
            entry.move(WITHDRAWING, before_fen, difference_fen)
            entry.unexplained.append(
                f"withdrawing: {yuan(difference_fen)} of withdrawals that are lost here were under way at the bank"
            )
            return
        lost_fen = min(-difference_fen, self._raised_fen(WITHDRAWING.name))
        if lost_fen > 0:
            entry.move(WITHDRAWING, before_fen, -lost_fen)
        if remaining_fen := -difference_fen - max(lost_fen, 0):
            self._standing.append(
                f"withdrawing: {yuan(remaining_fen)} have ended at the bank, which has not said which withdrawals"
            )

    def _raised_fen(self, account: str) -> int:
        """By how much an account was brought up since the copy was restored, all runs taken together."""
        changes = (change for entry in self._entries for change in entry.account_changes if change.account == account)
        return sum(change.after_fen - change.before_fen for change in changes)

    async def _enter(self, entry: _Entry) -> None:
        if not entry.is_needed:
            return
        amount_fen = sum(leg.amount_fen for leg in entry.legs)
        await self.recorder.record(
            CATCH_UP,
            Key.of_bank(f"catch-up {uuid_utils.uuid7()}"),
            Change(state=State.DONE),
            [Draft(tuple(entry.legs), payee=entry.member_id, amount_fen=amount_fen)] if entry.legs else [],
            plan={
                "since": self._since_text,
                "lost": entry.lost,
                "lacked_fen": entry.lacked_fen,
                "taken_over": [[one.account, one.before_fen, one.after_fen] for one in entry.account_changes],
                "unexplained": entry.unexplained,
            },
            payee=entry.member_id,
            members=entry.members,
        )
        self._remember(entry)

    def _remember(self, entry: _Entry) -> None:
        self._entries.append(entry)
        self._recorded_serials.setdefault(entry.member_id, set()).update(entry.lost)

    @property
    def _since_text(self) -> str:
        return self.since.astimezone(UTC).isoformat()

    @property
    def _order(self) -> str:
        """The order number, or the transfer, under which money stands of which the bank does not tell it."""
        return f"CATCHUP{bank_today():%Y%m%d}"


def _uncleared(cleared: date | None, lost: Sequence[Lost]) -> date:
    """The day of the latest of these, or the first that the bank has yet to clear: nothing waits for those before."""
    day = max((one.bank_day for one in lost), default=bank_today())
    return day if cleared is None or day > cleared else max(bank_today(), cleared + timedelta(days=1))


def _entry_of(member_id: MemberCode, plan: Mapping[str, Any]) -> _Entry:
    """What an earlier run has changed."""
    return _Entry(
        member_id,
        lost=list(plan["lost"]),
        lacked_fen=plan["lacked_fen"],
        account_changes=[
            AccountChange(account, member_id, before, after) for account, before, after in plan["taken_over"]
        ],
        unexplained=list(plan["unexplained"]),
    )


def _guessed(whose: str, pocket: Account, by_fen: int) -> str:
    return (
        f"{whose}: {pocket.kind.value} money changed by {yuan(by_fen)}; the bank does not say of which order or"
        f" transfer, here it is {pocket.ref}"
    )


async def _each(items: Sequence[T], work: Callable[[T], Awaitable[R]]) -> list[R]:
    """What comes of each, a bounded number of them at once."""
    slots = asyncio.Semaphore(MEMBERS_AT_ONCE)

    async def one(item: T) -> R:
        async with slots:
            return await work(item)

    return list(await asyncio.gather(*map(one, items)))
