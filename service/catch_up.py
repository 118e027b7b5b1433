"""Brings books that were restored from a copy up to the bank, which went on: asks what every sub-account has now (6010,
6037, 6093) and what was booked since (6072, 6073), takes the differences over, and says what explains them.

Balances are taken over exactly. The bank tells amounts and sub-accounts of what was lost, but neither request ids, nor
orders, nor the fee of a payment: so lost payments cannot be refunded through these books, and whoever sent a request
in that time must not send it again before looking at the list. What no transaction explains is listed too.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from uuid import UUID

import uuid_utils

from bankclient import (
    BANK_ZONE,
    EscrowBalance,
    FindSubAccount,
    MemberBalances,
    SubAccountBalances,
    yuan,
)
from ledger import Account, Change, Draft, Kind, Leg, Member, NewOperation, State, Step
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
    waiting,
    withdrawable,
)
from ledger.reads import CATCH_UP
from service.bankday import bank_today
from service.lost import TOP_UP, Lost, lost_of
from service.member_questions import clash_of
from service.plans.plan import Serials
from service.rpc.asking import ask, balances_of
from service.rpc.balances import COMPARED_PROPERTIES
from service.rpc.desk import PAGE_SIZE_MAX, Desk


class CatchUpStopped(Exception):
    """The books could not be brought up to the bank now; they stay closed, nothing is lost by trying again."""


@dataclass(frozen=True, slots=True)
class TakenOver:
    """An account that was brought to what the bank says, in fen. ``member_id`` is empty for the platform's own."""

    account: Account
    member_id: str
    before_fen: int
    after_fen: int


@dataclass(slots=True)
class CaughtUp:
    """What came of it. ``unexplained`` is for people: each names an account, an amount and what is odd about it."""

    since: datetime
    lost: dict[tuple[str, str], Lost] = field(default_factory=dict)
    taken_over: list[TakenOver] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)


class CatchUp:
    """One run over all open members and the platform's own accounts. No service may run on these books meanwhile."""

    def __init__(self, desk: Desk, since: datetime) -> None:
        self._desk = desk
        self._since = since
        self._found = CaughtUp(since)
        self._commission_fen = 0
        self._rest_fen = 0
        self._top_up_day = bank_today()

    async def run(self, patience_s: float, opened: Mapping[str, str]) -> CaughtUp:
        """``opened`` are members that were opened since, with their property (00 or SH), which the bank does not list.

        Raises `CatchUpStopped` when operations of the copy are still in doubt after ``patience_s``; `Problem` when
        the bank does not answer.
        """
        if not await self._desk.clearing.adopt():
            raise CatchUpStopped("the bank does not answer (6010); try again later")
        await self._rest(patience_s)
        await self._enter_what_has_a_door()
        for member_id, member_property in opened.items():
            await self._find(member_id, member_property)
        after = ""
        while members := await self._desk.reads.members_page(after, PAGE_SIZE_MAX):
            for member in members:
                if member.is_open:
                    await self._member(member)
            after = members[-1].member_id
        await self._strangers(await self._functional())
        return self._found

    async def _rest(self, patience_s: float) -> None:
        """The resolver ends what was open when the copy was made, by 6110 and its other questions."""
        reads, resolver, ends_s = self._desk.reads, self._desk.resolver, time.monotonic() + patience_s
        while doubted := [one for one, state in (await reads.open_operations()).items() if state is not State.ACCEPTED]:
            if time.monotonic() > ends_s:
                raise CatchUpStopped(
                    f"{len(doubted)} operations of the copy are still in doubt at the bank, the first is {doubted[0]};"
                    " run this again later, nothing was taken over yet"
                )
            await asyncio.sleep(0.2)
        # What the bank has accepted may take days: it is asked how that stands, and then nothing moves by itself.
        for operation_id in await reads.open_operations():
            await resolver.resolve_now(operation_id)
        resolver.rest()

    async def _enter_what_has_a_door(self) -> None:
        """Transfers (6050), returns (6048) and clearings (6108) since then, each entered once as always."""
        first, today = self._since.astimezone(BANK_ZONE).date(), bank_today()
        for collect in (self._desk.transfers.collect, self._desk.returns.collect):
            after = ""
            while True:
                page = await collect(first, today, after, PAGE_SIZE_MAX)
                after = page.next
                if not after:
                    break
        await self._desk.clearing.clear_past_days()

    async def _find(self, member_id: str, member_property: str) -> None:
        """Record a member that was opened since (6092)."""
        if await self._desk.reads.member(member_id) is not None:
            return
        found = await ask(self._desk.bank, FindSubAccount(TranNetMemberCode=member_id))
        if found is None:
            self._found.unexplained.append(f"member {member_id}: the bank has no sub-account of that code")
            return
        member = Member(member_id=member_id, sub_account=found.SubAcctNo, property=member_property)
        if clash := await clash_of(self._desk.reads, (member,)):
            self._found.unexplained.append(clash)
            return
        await self._enter([], member_id, [], (member,))

    async def _strangers(self, functional: set[str]) -> None:
        """Sub-accounts that took part in what was lost, and are nobody's here: their members were opened since."""
        named = {side for one in self._found.lost.values() for side in (one.payer, one.payee) if side}
        known = await self._desk.reads.members_by_sub_account(named)
        for sub_account in sorted(named - known.keys() - functional):
            self._found.unexplained.append(
                f"sub-account {sub_account} is of no member here: name the member that was opened since with --member"
            )

    async def _member(self, member: Member) -> None:
        desk, sub_account = self._desk, member.sub_account
        listed, frozen_now, assured = (
            await ask(desk.bank, SubAccountBalances(QueryFlag="2", SubAcctNo=sub_account)),
            await ask(desk.bank, MemberBalances(TranNetMemberCode=member.member_id)),
            await ask(desk.bank, EscrowBalance(SubAcctNo=sub_account)),
        )
        told = balances_of(sub_account, listed, frozen_now)
        if told is None or frozen_now is None or assured is None:
            self._found.unexplained.append(f"member {member.member_id}: the bank has no record of {sub_account}")
            return
        row, _ = told
        mirror = (await desk.reads.balances([sub_account]))[sub_account]
        frozen_fen, escrow_fen = frozen_now.SubAcctFreezeAmt, assured.SubAcctAssureAmt - frozen_now.SubAcctFreezeAmt
        if desk.settings.rules.frozen_amount_includes_escrow:
            # The bank tells only the sum of both.
            frozen_fen, escrow_fen = frozen_now.SubAcctFreezeAmt - mirror.escrow_fen, mirror.escrow_fen
        differences = {
            Kind.WITHDRAWABLE: row.CashAmt - mirror.withdrawable_fen,
            Kind.WAITING: row.AcctAvailBal - row.CashAmt - mirror.waiting_fen,
            Kind.FROZEN: frozen_fen - mirror.frozen_fen,
            Kind.ESCROW: escrow_fen - mirror.escrow_fen,
        }
        lost = await lost_of(self._desk, member, self._since)
        self._explain(member, differences[Kind.WITHDRAWABLE] + differences[Kind.WAITING], lost)
        day = max((one.bank_day for one, _ in lost), default=bank_today())
        await self._take_over(member, differences, day, sorted({one.bank_serial for one, _ in lost}))

    def _explain(self, member: Member, difference_fen: int, lost: Iterable[tuple[Lost, int]]) -> None:
        """Compare a difference with what was booked. What a payee lacks may be a fee, which the bank does not tell."""
        expected_fen = incoming_fen = 0
        for one, effect_fen in lost:
            is_new = (one.bank_serial, one.kind) not in self._found.lost
            self._found.lost[one.bank_serial, one.kind] = one
            expected_fen += effect_fen
            incoming_fen += max(effect_fen, 0)
            if one.kind == TOP_UP and is_new:
                self._commission_fen += one.amount_fen - effect_fen
                self._top_up_day = one.bank_day
        rest_fen = difference_fen - expected_fen
        if -incoming_fen <= rest_fen <= 0:
            self._rest_fen += rest_fen
        else:
            self._found.unexplained.append(
                f"member {member.member_id}, sub-account {member.sub_account}: its available money differs by"
                f" {yuan(difference_fen)}, what was booked explains {yuan(expected_fen)}"
            )

    async def _take_over(self, member: Member, differences: Mapping[Kind, int], day: date, lost: list[str]) -> None:
        sub_account = member.sub_account
        rises = {
            Kind.WITHDRAWABLE: withdrawable(sub_account),
            Kind.WAITING: waiting(sub_account, day),
            Kind.FROZEN: frozen(sub_account, self._order),
            Kind.ESCROW: escrow(sub_account, self._order),
        }
        pockets = await self._desk.reads.pockets(sub_account)
        legs: list[Leg] = []
        for kind, difference_fen in differences.items():
            if difference_fen > 0:
                legs.append(Leg(POOLED, rises[kind], difference_fen))
                self._note(rises[kind], member.member_id, pockets.get(rises[kind], 0), difference_fen)
                if kind in (Kind.FROZEN, Kind.ESCROW):
                    self._guessed(member, kind, self._order, difference_fen)
            elif difference_fen < 0:
                legs += self._fall(member, kind, pockets, -difference_fen)
        await self._enter(legs, member.member_id, lost)

    def _fall(self, member: Member, kind: Kind, pockets: Mapping[Account, int], fen: int) -> list[Leg]:
        """Money that is gone: of several pockets of a kind from the fullest on, a guess where they are orders."""
        legs = []
        ordered = sorted((one for one in pockets if one.kind is kind), key=lambda one: (-pockets[one], one))
        for pocket in ordered:
            taken_fen = min(fen, pockets[pocket])
            if taken_fen > 0:
                legs.append(Leg(pocket, POOLED, taken_fen))
                self._note(pocket, member.member_id, pockets[pocket], -taken_fen)
                if kind in (Kind.FROZEN, Kind.ESCROW):
                    self._guessed(member, kind, pocket.ref, -taken_fen)
                fen -= taken_fen
        if fen:
            self._found.unexplained.append(
                f"member {member.member_id}: the bank has {yuan(fen)} less {kind.value} money than these books can give"
            )
        return legs

    async def _functional(self) -> set[str]:
        """The platform's own accounts; their numbers at the bank."""
        listed = await self._desk.clearing.functional_accounts()
        if listed is None:
            raise CatchUpStopped("6010 did not answer for the platform's own accounts; run this again later")
        rules = self._desk.settings.rules
        properties = COMPARED_PROPERTIES | {
            rules.own_funds_property: Kind.OWN_FUNDS,
            rules.parking_property: Kind.PARKING,
        }
        bank: Counter[Kind] = Counter()
        for row in listed:
            if (kind := properties.get(row.SubAcctProperty)) is not None:
                bank[kind] += row.AcctAvailBal
        mirror = await self._desk.reads.functional()
        accounts = {
            Kind.FEE: FEE,
            Kind.OWN_FUNDS: OWN_FUNDS,
            Kind.WITHDRAWING: WITHDRAWING,
            Kind.IN_TRANSIT: in_transit(self._top_up_day),
            Kind.SUSPENSE: suspense(self._order),
            Kind.PARKING: parking(self._order),
        }
        legs = []
        for kind in bank:
            before_fen = mirror.get(kind, 0)
            difference_fen = bank[kind] - before_fen
            if not difference_fen:
                continue
            account = accounts[kind]
            if kind is Kind.WITHDRAWING and difference_fen < 0:
                self._found.unexplained.append(
                    f"withdrawing: {yuan(-difference_fen)} of withdrawals have ended at the bank just now; not taken"
                    " over, the bank is asked about them as always"
                )
                continue
            if account.floor is not None and difference_fen < 0 and account is not OWN_FUNDS:
                self._found.unexplained.append(
                    f"{kind.value}: the bank has {yuan(-difference_fen)} less and does not say of which; not taken over"
                )
                continue
            is_rise = difference_fen > 0
            legs.append(Leg(POOLED, account, difference_fen) if is_rise else Leg(account, POOLED, -difference_fen))
            self._note(account, "", before_fen, difference_fen)
            if kind is Kind.WITHDRAWING:
                self._found.unexplained.append(
                    f"withdrawing: {yuan(difference_fen)} of withdrawals that are lost here are under way at the bank;"
                    " run this again when they have ended"
                )
        # What a payee lacks is in the fees; what a refund gives back of a fee may be advanced from own funds (6164).
        kept_fen = sum(bank[kind] - mirror.get(kind, 0) for kind in (Kind.FEE, Kind.OWN_FUNDS))
        lacked_fen = self._commission_fen - self._rest_fen
        if kept_fen != lacked_fen:
            self._found.unexplained.append(
                f"fee and own funds: they differ by {yuan(kept_fen)} together, the payees lack {yuan(lacked_fen)}"
            )
        await self._enter(legs, "", [])
        return {row.SubAcctNo for row in listed}

    async def _enter(self, legs: list[Leg], member_id: str, lost: list[str], members: tuple[Member, ...] = ()) -> None:
        if not legs and not lost and not members:
            return
        settings = self._desk.settings
        serial = Serials.make(settings.bank.uid, bank_today(), [await self._desk.numbers.take()]).own
        # With a space, which no request id of a caller has.
        request_id = f"catch-up {serial}"
        amount_fen = sum(leg.amount_fen for leg in legs)
        new = NewOperation(
            id=UUID(bytes=uuid_utils.uuid7().bytes),
            request_id=request_id,
            fingerprint=hashlib.sha256(request_id.encode()).digest(),
            kind=CATCH_UP,
            serial=serial,
            plan={"since": self._since.astimezone(UTC).isoformat(), "lost": lost},
            payee=member_id,
            amount_fen=amount_fen,
        )
        drafts = (Draft(tuple(legs), payee=member_id, amount_fen=amount_fen),) if legs else ()
        await self._desk.writer.submit(
            Step(operation=new, change=Change(state=State.DONE), bank_day=bank_today(), enter=drafts, members=members)
        )

    @property
    def _order(self) -> str:
        """The order number under which money stands whose order the bank does not tell."""
        return f"CATCHUP{bank_today():%Y%m%d}"

    def _note(self, account: Account, member_id: str, before_fen: int, by_fen: int) -> None:
        self._found.taken_over.append(TakenOver(account, member_id, before_fen, before_fen + by_fen))

    def _guessed(self, member: Member, kind: Kind, order_no: str, by_fen: int) -> None:
        self._found.unexplained.append(
            f"member {member.member_id}: {kind.value} money changed by {yuan(by_fen)}; the bank does not say of which"
            f" order, here it is order {order_no}"
        )
