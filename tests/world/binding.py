"""Cards on their way to be bound: requests in one line each, codes and amounts as only the sandbox shows them.

Every card, document and phone number here is made up.
"""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from jzb.v1 import card_pb2, core_pb2
from sandbox.clock import BankClock
from sandbox.records import BoundCard
from tests.world.marketplace import TIMEOUT_S, Marketplace
from tests.world.verifying import sub_account

CARD = "6222000000000001"
OTHER_CARD = "6222000000000002"
HOLDER = "测试甲"
IDENTITY = "TEST0001"
MOBILE = "15400000001"
"""No serial holds it: the date in that would have to end in 154."""

PING_AN = card_pb2.BANK_TYPE_PING_AN
OTHER_BANK = card_pb2.BANK_TYPE_OTHER
PAY_OUT = card_pb2.TRANSFER_DIRECTION_PAY_OUT
PAY_IN = card_pb2.TRANSFER_DIRECTION_PAY_IN

CHECKING = card_pb2.CARD_STATE_CHECKING
BOUND = card_pb2.CARD_STATE_BOUND
UNBOUND = card_pb2.CARD_STATE_UNBOUND
FAILED = card_pb2.CARD_STATE_FAILED


class LaterClock(BankClock):
    """A bank's clock that is put forward by less than days."""

    def __init__(self) -> None:
        self._ahead = timedelta()
        super().__init__(lambda: datetime.now(UTC) + self._ahead)

    def forward(self, seconds: float) -> None:
        """From now on it is so much later at the bank, and nowhere else."""
        self._ahead += timedelta(seconds=seconds)


async def control(shop: Marketplace, method: str, path: str, command: dict[str, Any] | None = None) -> Any:
    """A command to the sandbox that no client of a bank has."""
    async with httpx.AsyncClient(base_url=shop.sandbox.url, trust_env=False) as http:
        answer = await http.request(method, f"/control/{path}", json=command)
        answer.raise_for_status()
        return answer.json()


async def last_code(shop: Marketplace, purpose: str = "card") -> str:
    """The code of the newest text for that purpose."""
    return str([text["code"] for text in await control(shop, "GET", "sms") if text["purpose"] == purpose][-1])


def other_than(code: str) -> str:
    """A wrong code."""
    return "000000" if code != "000000" else "111111"


async def paid_out_fen(shop: Marketplace) -> int:
    """What the bank paid out last to check a card."""
    return int((await control(shop, "GET", "card-payments"))[-1]["amount_fen"])


async def pay_in(shop: Marketplace, member_id: str, fen: int, number: str = CARD) -> None:
    """The holder pays in from the card."""
    command = {"sub_acct_no": await sub_account(shop, member_id), "card_no": number, "amount_fen": fen}
    await control(shop, "POST", "card-payments", command)


def sms_request(
    shop: Marketplace, member_id: str, number: str = CARD, holder: str = HOLDER, **more: Any
) -> card_pb2.CheckCardBySmsRequest:
    """A check of a card of the bank itself by SMS (6066)."""
    fields = _to_check(shop, member_id, number, holder) | more
    return card_pb2.CheckCardBySmsRequest(**fields)


def transfer_request(
    shop: Marketplace,
    member_id: str,
    direction: card_pb2.TransferDirection.ValueType,
    number: str = CARD,
    **more: Any,
) -> card_pb2.CheckCardByTransferRequest:
    """A check of a card of the bank itself by a small transfer (6055)."""
    fields = _to_check(shop, member_id, number, HOLDER) | more
    return card_pb2.CheckCardByTransferRequest(**fields, direction=direction)


def _to_check(shop: Marketplace, member_id: str, number: str, holder: str) -> dict[str, Any]:
    return {
        "request_id": shop.request_id(),
        "member_id": member_id,
        "card_number": number,
        "card_holder_name": holder,
        "identity_type": card_pb2.IDENTITY_TYPE_RESIDENT_CARD,
        "identity_number": IDENTITY,
        "bank_type": PING_AN,
        "branch_name": "平安银行",
        "mobile": MOBILE,
    }


async def check(
    shop: Marketplace, request: card_pb2.CheckCardBySmsRequest | card_pb2.CheckCardByTransferRequest
) -> card_pb2.Card:
    """Begin a check that the bank takes."""
    if isinstance(request, card_pb2.CheckCardBySmsRequest):
        by_sms: card_pb2.Card = (await shop.cards.CheckCardBySms(request, timeout=TIMEOUT_S)).card
        return by_sms
    by_transfer: card_pb2.Card = (await shop.cards.CheckCardByTransfer(request, timeout=TIMEOUT_S)).card
    return by_transfer


def with_code(shop: Marketplace, card: card_pb2.Card, code: str) -> Awaitable[card_pb2.ConfirmCardBySmsResponse]:
    """Hand a code in (6067)."""
    request = card_pb2.ConfirmCardBySmsRequest(request_id=shop.request_id(), card_id=card.card_id, code=code)
    sent: Awaitable[card_pb2.ConfirmCardBySmsResponse] = shop.cards.ConfirmCardBySms(request, timeout=TIMEOUT_S)
    return sent


def with_amount(shop: Marketplace, card: card_pb2.Card, fen: int) -> Awaitable[card_pb2.ConfirmCardByTransferResponse]:
    """Hand in the amount received; 0 asks whether a pay-in has come (6064)."""
    request = card_pb2.ConfirmCardByTransferRequest(
        request_id=shop.request_id(), card_id=card.card_id, received_fen=fen
    )
    sent: Awaitable[card_pb2.ConfirmCardByTransferResponse] = shop.cards.ConfirmCardByTransfer(
        request, timeout=TIMEOUT_S
    )
    return sent


async def bound(shop: Marketplace, member_id: str, number: str = CARD, **more: Any) -> card_pb2.Card:
    """Bind a card by SMS."""
    card = await check(shop, sms_request(shop, member_id, number, **more))
    bound_card: card_pb2.Card = (await with_code(shop, card, await last_code(shop))).card
    assert bound_card.state == BOUND
    return bound_card


def unbind(shop: Marketplace, card: card_pb2.Card) -> Awaitable[card_pb2.UnbindCardResponse]:
    """Unbind a card (6065)."""
    request = card_pb2.UnbindCardRequest(request_id=shop.request_id(), card_id=card.card_id)
    sent: Awaitable[card_pb2.UnbindCardResponse] = shop.cards.UnbindCard(request, timeout=TIMEOUT_S)
    return sent


async def get(shop: Marketplace, card_id: str) -> card_pb2.Card:
    """A card as the mirror has it."""
    card: card_pb2.Card = (await shop.cards.GetCard(card_pb2.GetCardRequest(card_id=card_id), timeout=TIMEOUT_S)).card
    return card


async def listed(shop: Marketplace, member_id: str) -> list[card_pb2.Card]:
    """A member's cards and checks under way, in the mirror."""
    answer = await shop.cards.ListCards(card_pb2.ListCardsRequest(member_id=member_id), timeout=TIMEOUT_S)
    return list(answer.cards)


async def refresh(shop: Marketplace, member_id: str) -> list[card_pb2.Card]:
    """Take the bank's list over (6098)."""
    request = card_pb2.RefreshCardsRequest(request_id=shop.request_id(), member_id=member_id)
    answer = await shop.cards.RefreshCards(request, timeout=TIMEOUT_S)
    assert answer.operation.state == core_pb2.OPERATION_STATE_DONE
    return list(answer.cards)


def bank_cards(shop: Marketplace) -> list[BoundCard]:
    """What is bound at the bank."""
    return [card for card in shop.sandbox.bank.store.all(BoundCard) if not card.unbound]


async def lost(shop: Marketplace, interface: str, call: Awaitable[Any]) -> core_pb2.Operation:
    """What becomes of a call that the bank acts on and whose answer is lost; ``call`` is not sent before."""
    shop.sandbox.faults.add("lose_after", code=interface)
    refusal = await shop.refusal(call)
    assert (refusal.reason, refusal.outcome) == ("BANK_OUTCOME_UNKNOWN", core_pb2.OUTCOME_UNKNOWN)
    return await shop.until_final(refusal.operation.operation_id)
