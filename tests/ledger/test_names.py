"""What mypy refuses: a name of one sort where another is wanted. Each line fails `make lint` once it is let pass, for
then its ``type: ignore`` is unused.
"""

from __future__ import annotations

from ledger import Draft, Reads
from ledger.accounts import refundable, suspense, withdrawable
from ledger.names import BankSerial, MemberCode, RequestId, Serial, SubAccount
from ledger.operations import Member

CODE, NUMBER = MemberCode("ann"), SubAccount("9930000000001001")
SERIAL, BANK_SERIAL = Serial("X285502611240000000001"), BankSerial("2611240000000001")


def test_a_name_of_another_sort_is_no_valid_argument_and_costs_nothing_at_run_time() -> None:
    assert withdrawable(CODE).owner == "ann"  # type: ignore[arg-type]
    assert refundable(BANK_SERIAL).ref == BANK_SERIAL  # type: ignore[arg-type]
    assert suspense(SERIAL).ref == SERIAL  # type: ignore[arg-type]
    assert str(Draft((), payer=SERIAL).payer) == SERIAL  # type: ignore[arg-type]
    member = Member(member_id=NUMBER, sub_account=CODE, property="00")  # type: ignore[arg-type]
    assert (str(member.member_id), str(member.sub_account)) == (NUMBER, CODE)
    assert type(SERIAL) is str


async def no_read_takes_a_name_of_another_sort(reads: Reads) -> None:
    """Never run: only its types are looked at."""
    await reads.member(SERIAL)  # type: ignore[arg-type]
    await reads.payment(CODE)  # type: ignore[arg-type]
    await reads.members_by_sub_account([CODE])  # type: ignore[list-item]
    await reads.operation(request_id=SERIAL)  # type: ignore[arg-type]
    await reads.operation(serial=RequestId("r"))  # type: ignore[arg-type]
