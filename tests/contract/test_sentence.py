"""What `Operation.message` says to a person, in every state."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from ledger import Operation, Part, PartState, State
from ledger.names import MemberCode, Serial
from service.recorded import ORDER_DIFFERS, SEND_AGAIN
from service.sentence import sentence

AT = datetime(2026, 11, 30, tzinfo=UTC)


def operation(state: State, **fields: Any) -> Operation:
    given: dict[str, Any] = {
        "id": UUID(int=1),
        "request_id": "pay-1",
        "fingerprint": b"",
        "kind": "PAY",
        "serial": "S1",
        "state": state,
        "payer": "buyer",
        "payee": "seller",
        "order_no": "",
        "amount_fen": 10_00,
        "fee_fen": 0,
        "reason": "",
        "message": "",
        "breach": None,
        "bank_code": "",
        "bank_message": "",
        "bank_serial": "",
        "bank_day": None,
        "trace_id": "",
        "plan_text": "{}",
        "query_attempts": 0,
        "not_found": 0,
        "next_query_at": None,
        "created_at": AT,
        "updated_at": AT,
    }
    return Operation(**{**given, **fields})


def part(number: int, state: PartState, order_no: str = "") -> Part:
    return Part(
        part=number,
        serial=Serial(f"S{number}"),
        payer=MemberCode("buyer"),
        payee=MemberCode("seller"),
        amount_fen=1,
        fee_fen=0,
        state=state,
        bank_day=None,
        corrects=None,
        order_no=order_no,
    )


BREACH = {"pocket": "available", "owner": "1001", "ref": "", "needed_fen": 10_00, "left_fen": 3_00}


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (
            operation(State.RESERVED),
            "It is reserved with what it takes held, and the bank has not answered yet.",
        ),
        (
            operation(State.RELEASED, message="no connection: refused"),
            "The bank could not be reached; nothing was sent, nothing is held.",
        ),
        (
            operation(State.UNKNOWN, message="6110 says TranStatus 5"),
            "The bank may have acted; the money stays held until the bank says (6110 says TranStatus 5).",
        ),
        (
            operation(State.UNKNOWN, reason=SEND_AGAIN),
            "The bank searches its history for the payment and wants the same request again; the money stays held.",
        ),
        (
            operation(State.ACCEPTED, message="a signed success"),
            "The bank has accepted it and has not ended it yet.",
        ),
        (operation(State.DONE, message="a signed success"), "The bank has done it."),
        (
            operation(State.DONE, message="the bank parked O1; RebookOrder moves it to its member"),
            "The bank has done it (the bank parked O1; RebookOrder moves it to its member).",
        ),
        (
            operation(State.DONE, request_id="transfer 1", message="a transfer came in and lies in suspense"),
            "A transfer came in and lies in suspense.",
        ),
        (
            operation(State.REFUSED, message="a signed refusal", bank_code="ERR044", bank_message="余额不足"),
            "The bank refused: ERR044 余额不足.",
        ),
        (
            operation(State.REFUSED, reason=ORDER_DIFFERS, message="O1: the bank has 50.00, the request 40.00"),
            "O1: the bank has 50.00, the request 40.00.",
        ),
    ],
    ids=lambda value: value.state.value if isinstance(value, Operation) else "",
)
def test_a_person_reads_what_the_state_means_for_the_money(found: Operation, says: str) -> None:
    assert sentence(found, [part(1, PartState.POSTED)]) == says


def test_a_refusal_of_our_own_says_that_nothing_was_sent() -> None:
    said = sentence(operation(State.REFUSED, breach=BREACH), [])
    assert said.startswith("It was refused here, and nothing was sent: 10.00 needed, 3.00 left: ")


def test_a_batch_of_which_the_bank_refused_a_row_says_how_much_was_done() -> None:
    rows = [
        part(1, PartState.POSTED, "a"),
        part(2, PartState.VOIDED, "b"),
        part(3, PartState.POSTED, "c"),
    ]
    assert sentence(operation(State.DONE), rows) == "The bank has done 2 of its 3 parts and refused the others."


def test_a_payment_that_was_let_go_unsent_and_sent_again_is_done_whole() -> None:
    tries = [part(1, PartState.VOIDED), part(2, PartState.POSTED)]
    assert sentence(operation(State.DONE), tries) == "The bank has done it."
