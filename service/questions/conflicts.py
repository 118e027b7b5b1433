"""Where what the bank says cannot be true of the mirror. It is logged as an error, and nothing is settled by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bankclient import TransactionStatusReply, yuan
from ledger import Member, Operation, Part, Reads
from ledger.names import NO_BANK_SERIAL, BankSerial, Serial, SubAccount
from service.questions.results import BankResult, Verdict
from service.telemetry import events


async def sub_account_conflict(reads: Reads, members: Sequence[Member]) -> str:
    """Why what the bank says of members cannot be recorded: a number is another member's here. Empty when it can be."""
    if not members:
        return ""
    owners = await reads.members_by_sub_account([one.sub_account for one in members])
    recorded_members = await reads.members([one.member_id for one in members])
    taken: dict[str, str] = {number: owner.member_id for number, owner in owners.items()}
    for member in members:
        recorded = recorded_members.get(member.member_id)
        if taken.setdefault(member.sub_account, member.member_id) != member.member_id:
            conflict = f"which is of {taken[member.sub_account]} here"
        elif recorded is not None and recorded.is_open and recorded.sub_account != member.sub_account:
            conflict = f"which has {recorded.sub_account} here"
        else:
            continue
        mismatch = f"the bank says sub-account {member.sub_account} of member {member.member_id}, {conflict}"
        events.CONTRADICTION.log(mismatch=mismatch, member_id=member.member_id, sub_account=member.sub_account)
        return mismatch
    return ""


async def without_conflict(reads: Reads, result: BankResult) -> BankResult:
    """The result; an inconclusive one where its members cannot be recorded."""
    conflict = await sub_account_conflict(reads, result.members)
    return replace(result, verdict=Verdict.INCONCLUSIVE, detail=conflict, members=()) if conflict else result


async def without_foreign_bookings(reads: Reads, serial: Serial, results: Sequence[BankResult]) -> list[BankResult]:
    """The results of the operation of ``serial``; inconclusive where the bank names a booking that another one has."""
    named = {one.bank_serial for one in results} | {number for one in results for number in one.bank_serials}
    owners = await reads.booked_by_others(named - {NO_BANK_SERIAL}, serial)
    return [_unless_foreign(one, owners) for one in results] if owners else list(results)


def _unless_foreign(result: BankResult, owners: Mapping[BankSerial, Serial]) -> BankResult:
    foreign = next((one for one in (result.bank_serial, *result.bank_serials) if one in owners), None)
    if foreign is None:
        return result
    mismatch = f"the bank names its booking {foreign}, which is of {owners[foreign]} here"
    events.CONTRADICTION.log(mismatch=mismatch)
    return replace(result, verdict=Verdict.INCONCLUSIVE, detail=mismatch, members=(), booked=None)


async def response_mismatch(
    reads: Reads, operation: Operation, parts: Sequence[Part], reply: TransactionStatusReply, part: Part | None = None
) -> str:
    """How 6110 describes another booking than the operation, or the part, that it was asked for; empty when it does
    not.

    TranAmt has the fee in it (catalogue 6110). Sources disagree where a fee comes on top and where it is a part
    (notes.md 9.1), so each way is let pass. Of sub-accounts those count that are a member's here: the bank has accounts
    of its own between the two sides.
    """
    amount_fen, fee_fen = (operation.amount_fen, operation.fee_fen) if part is None else (part.amount_fen, part.fee_fen)
    if reply.TranAmt not in (amount_fen, amount_fen + fee_fen, amount_fen - fee_fen):
        mismatch = (
            f"6110 tells of {yuan(reply.TranAmt)}, the request is for {yuan(amount_fen)} with fee {yuan(fee_fen)}"
        )
    else:
        own = {operation.payer, operation.payee, *(side for one in parts for side in (one.payer, one.payee))}
        named = {SubAccount(one) for one in (reply.InSubAcctNo, reply.OutSubAcctNo) if one}
        unrelated = {one.member_id for one in (await reads.members_by_sub_account(named)).values()} - own
        mismatch = f"6110 tells of {', '.join(sorted(unrelated))}, who have no part in the request" if unrelated else ""
    if mismatch:
        events.CONTRADICTION.log(operation_id=str(operation.id), serial=operation.serial, mismatch=mismatch)
    return mismatch
