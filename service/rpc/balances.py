"""BalanceService: what members have, whether the books are whole, and whether the bank agrees (6010, 6037);
what the bank itself says (6010, 6011, 6037, 6093, 6114).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from bankclient import (
    BankClient,
    DayEndBalances,
    EscrowBalance,
    PooledBalance,
    SubAccountBalances,
    wall_clock,
)
from jzb.v1 import balance_pb2, balance_pb2_grpc
from jzb.v1.names import ErrorReason
from ledger import Amounts, Comparison, Entries, Finding, Kind, Member, Reads, Result, Summary, judge
from ledger.accounts import POCKETS, Account
from ledger.names import NO_MEMBER_CODE, NO_SUB_ACCOUNT, MemberCode, SubAccount
from service import problems, view
from service.bankday import bank_today
from service.inflows.clearing import Clearing
from service.questions.balances import COMPARED_PROPERTIES, MIRRORED_PROPERTIES, balances_of
from service.questions.calls import query_bank
from service.questions.lists import rows
from service.rpc.context import Context
from service.rpc.dates import days, iso_day
from service.rpc.entries import as_of, entry_message, span
from service.rpc.facts import MemberFacts
from service.rpc.pages import PAGE_SIZE_MAX, page_size, page_start, page_token, start_row
from service.settings import RulesSettings
from service.view import ACCOUNT_KINDS

RESULTS: dict[Result, balance_pb2.ComparisonResult.ValueType] = {
    Result.EQUAL: balance_pb2.COMPARISON_RESULT_EQUAL,
    Result.UNDER_WAY: balance_pb2.COMPARISON_RESULT_UNDER_WAY,
    Result.CLEARING: balance_pb2.COMPARISON_RESULT_CLEARING,
    Result.DIFFERS: balance_pb2.COMPARISON_RESULT_DIFFERS,
}

DAY_ENDS_MAX = timedelta(days=10)

WAITING_STATES = {
    "0": balance_pb2.DAY_END_STATE_UNCLEARED,
    "1": balance_pb2.DAY_END_STATE_CLEARED,
    "2": balance_pb2.DAY_END_STATE_NOTHING,
    "3": balance_pb2.DAY_END_STATE_ABNORMAL,
}
"""CashStatus of 6114."""


@dataclass(frozen=True, kw_only=True)
class Balances(balance_pb2_grpc.BalanceServiceServicer):
    """See protos/jzb/v1/balance.proto."""

    reads: Reads
    entries: Entries
    bank: BankClient
    clearing: Clearing
    members: MemberFacts
    rules: RulesSettings
    verify_s: float
    _verifying: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)

    async def GetBalance(
        self, request: balance_pb2.GetBalanceRequest, context: Context
    ) -> balance_pb2.GetBalanceResponse:
        """From the mirror, now or in the past."""
        member_id = MemberCode(request.member_id)
        if request.WhichOneof("as_of") is None:
            (balance,) = await self._balances([member_id])
            return balance_pb2.GetBalanceResponse(balance=balance)
        member = await self.members.get(member_id)
        found = await self.entries.balance(member_id, **as_of(request))
        balance = balance_pb2.Balance(
            member_id=member_id,
            sub_account=member.sub_account,
            available_fen=found.pockets.available_fen,
            withdrawable_fen=found.pockets.withdrawable_fen,
            uncleared_fen=found.pockets.uncleared_fen,
            frozen_fen=found.pockets.frozen_fen,
            escrow_fen=found.pockets.escrow_fen,
            as_of_time=view.timestamp(found.at),
        )
        return balance_pb2.GetBalanceResponse(balance=balance)

    async def BatchGetBalances(
        self, request: balance_pb2.BatchGetBalancesRequest, context: Context
    ) -> balance_pb2.BatchGetBalancesResponse:
        """From the mirror, in the order asked."""
        return balance_pb2.BatchGetBalancesResponse(
            balances=await self._balances([MemberCode(member_id) for member_id in request.member_ids])
        )

    async def ListHolds(self, request: balance_pb2.ListHoldsRequest, context: Context) -> balance_pb2.ListHoldsResponse:
        """From the mirror."""
        first, size = start_row(page_start(request.page_token, request)), page_size(request.page_size)
        member = await self.members.get(MemberCode(request.member_id))
        holds = await self.reads.holds(member.sub_account, POCKETS)
        pockets = await self.reads.pockets(member.sub_account)
        rows = [_hold(one.account, one.amount_fen, str(one.operation_id), one.since) for one in holds]
        rows += [
            _hold(account, fen)
            for account, fen in sorted(pockets.items())
            if fen and account.kind in (Kind.FROZEN, Kind.ESCROW)
        ]
        held_fen = Counter[Account]()
        for one in holds:
            held_fen[one.account] += one.amount_fen
        uncleared = {
            account.day: fen + held_fen[account] for account, fen in pockets.items() if account.kind is Kind.UNCLEARED
        }
        owed = [day for day, fen in (await self.reads.owed_days()).items() if fen]
        return balance_pb2.ListHoldsResponse(
            member_id=member.member_id,
            sub_account=member.sub_account,
            holds=rows[first : first + size],
            uncleared=[] if first else _uncleared(uncleared, owed, bank_today()),
            next_page_token=page_token(str(first + size), request) if len(rows) > first + size else "",
        )

    async def GetTrialBalance(
        self, request: balance_pb2.GetTrialBalanceRequest, context: Context
    ) -> balance_pb2.GetTrialBalanceResponse:
        """Of the whole journal, now or in the past."""
        found = await self.entries.totals(**as_of(request))
        sums: dict[int, balance_pb2.TrialBalanceRow] = {}
        for account_kind, (debit_fen, credit_fen) in found.by_kind.items():
            kind = ACCOUNT_KINDS[account_kind]
            total = sums.setdefault(kind, balance_pb2.TrialBalanceRow(account_kind=kind))
            total.debit_fen += debit_fen
            total.credit_fen += credit_fen
            total.balance_fen += credit_fen - debit_fen
        rows = [sums[kind] for kind in sorted(sums)]
        return balance_pb2.GetTrialBalanceResponse(
            rows=rows,
            debit_fen=sum(row.debit_fen for row in rows),
            credit_fen=sum(row.credit_fen for row in rows),
            as_of_time=view.timestamp(found.at),
        )

    async def ListMemberEntries(
        self, request: balance_pb2.ListMemberEntriesRequest, context: Context
    ) -> AsyncIterator[balance_pb2.ListMemberEntriesResponse]:
        """From the mirror, in the order of commits."""
        wanted = span(request)
        member_id = (await self.members.get(MemberCode(request.member_id))).member_id
        async with aclosing(self.entries.entries(member_id, **wanted, limit=request.limit or None)) as entries:
            async for entry in entries:
                yield entry_message(member_id, entry)

    async def CompareWithBank(
        self, request: balance_pb2.CompareWithBankRequest, context: Context
    ) -> AsyncIterator[balance_pb2.CompareWithBankResponse]:
        """The mirror beside the bank's own answers, member by member, then the platform's own accounts."""
        if request.member_id:
            # Of a member that is not open the bank answers nothing.
            yield await self._compare(await self.members.get_open(MemberCode(request.member_id)))
            return
        after = ""
        while members := await self.reads.members_page(after, PAGE_SIZE_MAX):
            for member in members:
                if member.is_open:
                    yield await self._compare(member)
            after = members[-1].member_id
        for comparison in await self._functional():
            yield comparison

    async def VerifyBooks(
        self, request: balance_pb2.VerifyBooksRequest, context: Context
    ) -> AsyncIterator[balance_pb2.VerifyBooksResponse]:
        """The journal replayed, finding by finding, then the summary."""
        # Not bounded but by what an audit tells: a replay that waited for its reader would pin its snapshot meanwhile.
        told: asyncio.Queue[Finding | Summary | None] = asyncio.Queue()
        replaying = asyncio.create_task(self._replay(request, told), name="verify-books")
        try:
            while (found := await told.get()) is not None:
                yield _books(found)
            await replaying
        finally:
            replaying.cancel()
            await asyncio.wait([replaying])

    async def _replay(
        self, request: balance_pb2.VerifyBooksRequest, told: asyncio.Queue[Finding | Summary | None]
    ) -> None:
        """One at a time, so that reads keep their share. Raises `Problem` when it takes too long."""
        limit_s = self.verify_s
        audit = self.reads.audit(bytes.fromhex(request.noted_digest), request.unsealed_batches)
        try:
            async with self._verifying, asyncio.timeout(limit_s), aclosing(audit) as findings:
                async for found in findings:
                    told.put_nowait(found)
        except TimeoutError:
            raise problems.replay_too_long(limit_s) from None
        finally:
            told.put_nowait(None)

    async def GetBankBalances(
        self, request: balance_pb2.GetBankBalancesRequest, context: Context
    ) -> balance_pb2.GetBankBalancesResponse:
        """From the bank alone: a member, or the functional sub-accounts."""
        if request.member_id:
            found = [await self._bank_balance(await self.members.get_open(MemberCode(request.member_id)))]
        else:
            question = SubAccountBalances(QueryFlag="3")
            properties = {**MIRRORED_PROPERTIES, **self._chosen_properties()}
            kinds = {code: ACCOUNT_KINDS[kind] for code, kind in properties.items()}
            found = [
                balance_pb2.BankBalance(
                    sub_account=row.SubAcctNo,
                    bank_property=row.SubAcctProperty,
                    account_kind=kinds.get(row.SubAcctProperty, balance_pb2.ACCOUNT_KIND_UNSPECIFIED),
                    available_fen=row.AcctAvailBal,
                    withdrawable_fen=row.CashAmt,
                )
                async for row in rows(self.bank, question)
            ]
        return balance_pb2.GetBankBalancesResponse(balances=found, query_time=view.timestamp(wall_clock()))

    async def GetPooledBalance(
        self, request: balance_pb2.GetPooledBalanceRequest, context: Context
    ) -> balance_pb2.GetPooledBalanceResponse:
        """6011."""
        reply = await query_bank(self.bank, PooledBalance())
        if reply is None:
            raise problems.bank_silent("6011 has no record of the pooled account")
        return balance_pb2.GetPooledBalanceResponse(
            balance_fen=reply.CurBalabce,
            previous_day_end_fen=reply.LastBalance,
            query_time=view.timestamp(wall_clock()),
        )

    async def ListDayEndBalances(
        self, request: balance_pb2.ListDayEndBalancesRequest, context: Context
    ) -> balance_pb2.ListDayEndBalancesResponse:
        """6114, which looks back ten days."""
        first, last = days(request.first_bank_day, request.last_bank_day)
        if last - first > DAY_ENDS_MAX:
            raise problems.invalid(
                "last_bank_day", f"{last} is more than ten days after {first}", ErrorReason.BANK_DAY_INVALID
            )
        member = await self.members.get(MemberCode(request.member_id))
        question = DayEndBalances(SubAcctNo=member.sub_account, StartDate=first, EndDate=last)
        return balance_pb2.ListDayEndBalancesResponse(
            days=[
                balance_pb2.DayEndBalance(
                    bank_day=iso_day(row.Date),
                    available_fen=row.DayAcctAvailBal,
                    withdrawable_fen=row.DayCashBal,
                    frozen_fen=row.DayFreezeBal,
                    day_uncleared_fen=row.DayCashOccurAmt,
                    uncleared_fen=row.DayWaitCashBal,
                    state=WAITING_STATES.get(row.CashStatus, balance_pb2.DAY_END_STATE_UNSPECIFIED),
                )
                async for row in rows(self.bank, question)
            ]
        )

    def _chosen_properties(self) -> dict[str, Kind]:
        rules = self.rules
        return {rules.own_funds_property: Kind.OWN_FUNDS, rules.parking_property: Kind.PARKING}

    async def _bank_balance(self, member: Member) -> balance_pb2.BankBalance:
        told, assured = await asyncio.gather(
            balances_of(self.bank, member), query_bank(self.bank, EscrowBalance(SubAcctNo=member.sub_account))
        )
        if told is None or assured is None:
            raise problems.bank_silent(f"the bank has no record of the sub-account of {member.member_id}")
        row, now = told
        return balance_pb2.BankBalance(
            member_id=member.member_id,
            sub_account=member.sub_account,
            bank_property=row.SubAcctProperty,
            available_fen=row.AcctAvailBal,
            withdrawable_fen=row.CashAmt,
            frozen_fen=now.SubAcctFreezeAmt,
            escrow_and_frozen_fen=assured.SubAcctAssureAmt,
        )

    async def _balances(self, member_ids: list[MemberCode]) -> list[balance_pb2.Balance]:
        found = await self.reads.balances_of(member_ids)
        messages = []
        for member_id in member_ids:
            balance = found.get(member_id)
            if balance is None:
                raise problems.not_found(ErrorReason.MEMBER_NOT_FOUND, "member", member_id)
            messages.append(
                balance_pb2.Balance(
                    member_id=member_id,
                    sub_account=balance.sub_account,
                    available_fen=balance.available_fen,
                    withdrawable_fen=balance.withdrawable_fen,
                    uncleared_fen=balance.uncleared_fen,
                    frozen_fen=balance.frozen_fen,
                    escrow_fen=balance.escrow_fen,
                    held_fen=balance.held_fen,
                    as_of_time=view.timestamp(balance.read_at),
                    last_comparison=_comparison(balance.compared, member_id) if balance.compared else None,
                )
            )
        return messages

    async def _compare(self, member: Member) -> balance_pb2.CompareWithBankResponse:
        reads = self.reads
        position = await reads.position(member.sub_account, bank_today())
        told = await balances_of(self.bank, member)
        if told is None:
            raise problems.bank_silent(f"6010 and 6037 do not tell of the sub-account of {member.member_id} alone")
        row, now = told
        compared = judge(
            member.sub_account,
            Amounts(row.AcctAvailBal, row.CashAmt, now.SubAcctFreezeAmt),
            position,
            await reads.motion(member.sub_account, member.member_id, position),
            with_escrow=self.rules.frozen_amount_includes_escrow,
        )
        await reads.keep(compared)
        return balance_pb2.CompareWithBankResponse(comparison=_comparison(compared, member.member_id))

    async def _functional(self) -> list[balance_pb2.CompareWithBankResponse]:
        reads = self.reads
        position = await reads.position(NO_SUB_ACCOUNT, bank_today())
        rows = await self.clearing.functional_accounts()
        if rows is None:
            raise problems.bank_silent("6010 did not answer for the platform's own accounts")
        motion = await reads.motion(NO_SUB_ACCOUNT, NO_MEMBER_CODE, position)
        properties = {**COMPARED_PROPERTIES, **self._chosen_properties()}
        found = []
        for row in rows:
            kind = properties.get(row.SubAcctProperty)
            if kind is not None:
                compared = judge(SubAccount(row.SubAcctNo), Amounts(row.AcctAvailBal), position, motion, kind=kind)
                await reads.keep(compared)
                found.append(balance_pb2.CompareWithBankResponse(comparison=_comparison(compared)))
        return found


def _comparison(found: Comparison, member_id: MemberCode = NO_MEMBER_CODE) -> balance_pb2.Comparison:
    return balance_pb2.Comparison(
        member_id=member_id,
        sub_account=found.sub_account,
        account_kind=balance_pb2.ACCOUNT_KIND_UNSPECIFIED if found.kind is None else ACCOUNT_KINDS[found.kind],
        mirror=_amounts(found.mirror),
        bank=_amounts(found.bank),
        difference=_amounts(found.bank.minus(found.mirror)),
        in_doubt_fen=found.in_doubt_fen,
        agrees=found.result is not Result.DIFFERS,
        compare_time=view.timestamp(found.compared_at),
        result=RESULTS[found.result],
    )


def _amounts(found: Amounts) -> balance_pb2.ComparedAmounts:
    return balance_pb2.ComparedAmounts(
        available_fen=found.available_fen, withdrawable_fen=found.withdrawable_fen, frozen_fen=found.frozen_fen
    )


def _books(found: Finding | Summary) -> balance_pb2.VerifyBooksResponse:
    if isinstance(found, Finding):
        finding = balance_pb2.BooksFinding(
            check=found.check, where=found.where, expected=found.expected, found=found.found
        )
        return balance_pb2.VerifyBooksResponse(finding=finding)
    summary = balance_pb2.BooksSummary(
        batches=found.batches,
        unsealed_batches=found.batches_unsealed,
        unsealed_members=found.members_unsealed,
        operations=found.operations,
        transactions=found.transactions,
        legs=found.legs,
        findings=found.findings,
        first_seal_time=view.timestamp(found.sealed_since),
        last_seal_time=view.timestamp(found.sealed_until),
        last_digest=found.digest.hex(),
    )
    return balance_pb2.VerifyBooksResponse(summary=summary)


def _hold(account: Account, amount_fen: int, operation_id: str = "", since: datetime | None = None) -> balance_pb2.Hold:
    return balance_pb2.Hold(
        account_kind=ACCOUNT_KINDS[account.kind],
        amount_fen=amount_fen,
        operation_id=operation_id,
        order_no=account.ref if account.kind in (Kind.FROZEN, Kind.ESCROW) else "",
        since=view.timestamp(since),
    )


def _uncleared(
    pockets: Mapping[date, int], owed: Collection[date], today: date
) -> Iterator[balance_pb2.UnclearedPocket]:
    """The pockets by day. A day is cleared on the next, unless one before it is late: days are cleared in order."""
    one_day = timedelta(days=1)
    late = min((day for day in (*pockets, *owed) if day + one_day < today), default=None)
    for day in sorted(pockets):
        yield balance_pb2.UnclearedPocket(
            bank_day=day.isoformat(),
            amount_fen=pockets[day],
            expected_day=max(day + one_day, today).isoformat(),
            late_since_day=late.isoformat() if late is not None and late <= day else "",
        )
