"""The scenes of the demo's day that need nobody but the platform and its members."""

from __future__ import annotations

import asyncio
import secrets

from jzb.v1 import (
    card_pb2,
    clearing_pb2,
    core_pb2,
    freeze_pb2,
    member_pb2,
    operation_pb2,
    payment_pb2,
    refund_pb2,
    topup_pb2,
    withdrawal_pb2,
)
from service.process.demo.client import TIMEOUT_S, Client, console

T1, T0 = payment_pb2.SETTLEMENT_T1, payment_pb2.SETTLEMENT_T0
MERCHANTS = ("A", "B", "C")
FINAL = (core_pb2.OPERATION_STATE_DONE, core_pb2.OPERATION_STATE_REFUSED)


async def money_comes_in(client: Client) -> None:
    """Members open, a channel payment is split, a top-up is taken back in part."""
    console.print("[bold]Members open[/bold]")
    await _open(client, "buyer", member_pb2.MEMBER_PROPERTY_ORDINARY)
    for name in MERCHANTS:
        await _open(client, name, member_pb2.MEMBER_PROPERTY_MERCHANT)

    shares = ((50_000, 5_000), (30_000, 3_000), (20_000, 2_000))
    await client.step(
        "A channel payment of 1,000.00 is split: A 500 with fee 50, B 300 with fee 30, C 200 with fee 20",
        client.top_ups.SplitTopUp,
        topup_pb2.SplitTopUpRequest(
            order_no=f"S{client.run}",
            channel=_channel(client),
            shares=[
                topup_pb2.TopUpShare(
                    member_id=client.id(name), amount_fen=fen, fee_fen=fee_fen, order_no=f"S{client.run}{name}"
                )
                for name, (fen, fee_fen) in zip(MERCHANTS, shares, strict=True)
            ],
        ),
        *MERCHANTS,
    )
    topped_up = await client.step(
        "The buyer tops up 2,100.00",
        client.top_ups.TopUp,
        topup_pb2.TopUpRequest(
            member_id=client.id("buyer"),
            amount_fen=210_000,
            channel=_channel(client),
            order_no=f"T{client.run}",
        ),
        "buyer",
    )
    await client.step(
        "That was 100.00 too much: so much of the top-up is revoked, and the channel owes it no longer",
        client.top_ups.RevokeTopUp,
        topup_pb2.RevokeTopUpRequest(top_up_serial=topped_up.operation.serial, amount_fen=10_000),
        "buyer",
    )


async def goods_are_sold(client: Client) -> None:
    """An order is pre-paid, confirmed and partly refunded; a payment is made directly."""
    order = f"O{client.run}"
    await client.step(
        "The buyer pre-pays an order of 300.00 to A",
        client.payments.PrepayOrder,
        payment_pb2.PrepayOrderRequest(
            payer_member_id=client.id("buyer"),
            payee_member_id=client.id("A"),
            order_no=order,
            amount_fen=30_000,
        ),
        "buyer",
    )
    confirmed = await client.step(
        "The buyer confirms it, the platform takes 15.00",
        client.payments.ConfirmOrder,
        payment_pb2.ConfirmOrderRequest(order_no=order, amount_fen=30_000, fee_fen=1_500),
        "buyer",
        "A",
    )
    payment_serial = confirmed.operation.serial

    def refund(fen: int, fee_fen: int) -> refund_pb2.RefundRequest:
        return refund_pb2.RefundRequest(payment_serial=payment_serial, amount_fen=fen, fee_fen=fee_fen)

    await client.step(
        "100.00 of it are refunded, 5.00 of them fee",
        client.refunds.Refund,
        refund(10_000, 500),
        "buyer",
        "A",
    )
    await client.refused(
        "A refund of 250.00 is too large: refused here, nothing is sent",
        client.refunds.Refund,
        refund(25_000, 0),
        "buyer",
        "A",
    )
    await client.step(
        "The buyer pays B 200.00 with fee 10.00, T+1",
        client.payments.Pay,
        _payment(client, "buyer", "B", 20_000, 1_000, T1),
        "buyer",
        "B",
    )


async def the_night_clears(client: Client) -> None:
    """The bank's present day is cleared, as the night would."""
    await _clear(client)
    await client.step(
        "The buyer pays C 150.00 with fee 7.50, T+0: C may withdraw today",
        client.payments.Pay,
        _payment(client, "buyer", "C", 15_000, 750, T0),
        "buyer",
        "C",
    )


async def the_last_night_clears(client: Client) -> None:
    """The day after is cleared as well: now the bank has its files of both."""
    await _clear(client)


def say_how_the_days_are_closed(client: Client, options: str) -> None:
    """The command that closes the days which the demo has played, with the options that reach the service."""
    if client.days:
        through = f" --through {client.days[-1]}" if len(client.days) > 1 else ""
        command = f"jzb reconcile --date {client.days[0]}{through}{options}"
        console.print(f"Close its days, in the service that keeps them: {command}")


async def _clear(client: Client) -> None:
    """Have every day cleared that waits for it."""
    days = (await client.ask(client.clearing.ListDays, clearing_pb2.ListDaysRequest())).days
    for day in days:
        await client.step(
            f"The bank clears {day.bank_day}: what waited can be withdrawn",
            client.clearing.ClearDay,
            clearing_pb2.ClearDayRequest(bank_day=day.bank_day),
            "buyer",
            *MERCHANTS,
        )
        client.days.append(day.bank_day)


async def money_is_frozen(client: Client) -> None:
    """Money of the buyer is set aside, paid out in part, and released."""
    frozen = f"F{client.run}"
    await client.step(
        "400.00 of the buyer are frozen",
        client.freezes.Freeze,
        freeze_pb2.FreezeRequest(member_id=client.id("buyer"), amount_fen=40_000, order_no=frozen),
        "buyer",
    )
    await client.step(
        "Out of them A gets 120.00 and B 80.00, fee 10.00 on top",
        client.freezes.PayFrozen,
        freeze_pb2.PayFrozenRequest(
            order_no=frozen,
            fee_on_top_fen=1_000,
            payees=[
                freeze_pb2.FrozenPayee(member_id=client.id("A"), amount_fen=12_000),
                freeze_pb2.FrozenPayee(member_id=client.id("B"), amount_fen=8_000),
            ],
        ),
        "buyer",
        "A",
        "B",
    )
    await client.step(
        "The remaining 190.00 are released",
        client.freezes.Release,
        freeze_pb2.ReleaseRequest(order_no=frozen, amount_fen=19_000),
        "buyer",
    )


async def money_goes_out(client: Client) -> str:
    """A binds a card and withdraws to it; returns the operation's id."""
    card_id = await _bound_card(client, "A")
    withdrawn = await client.step(
        "A withdraws 200.00 to that card; the bank accepts it, the final word comes later",
        client.withdrawals.Withdraw,
        withdrawal_pb2.WithdrawRequest(
            member_id=client.id("A"),
            amount_fen=20_000,
            card_id=card_id,
        ),
        "A",
    )
    return str(withdrawn.operation.operation_id)


async def an_answer_is_lost(client: Client) -> None:
    """The bank acts and its answer is lost: the money stays held until the bank has been asked."""
    lost = _payment(client, "buyer", "B", 5_000, 0, T1, remark="[[lose_after]]")
    doubt = await client.refused(
        "The buyer pays B 50.00 and the bank's answer is lost: UNKNOWN, the money stays held",
        client.payments.Pay,
        lost,
        "buyer",
        "B",
    )
    await client.step(
        "The bank is asked, and knows: DONE",
        client.operations.ResolveOperation,
        operation_pb2.ResolveOperationRequest(
            key=operation_pb2.OperationKey(operation_id=doubt.operation.operation_id)
        ),
        "buyer",
        "B",
    )


async def a_request_is_repeated(client: Client) -> None:
    """One request id acts once."""
    twice = _payment(client, "buyer", "C", 2_500, 0, T1)
    first = await client.step("The buyer pays C 25.00", client.payments.Pay, twice, "buyer", "C")
    second = await client.step(
        "The same request again: the same answer, nothing moves",
        client.payments.Pay,
        twice,
        "buyer",
        "C",
    )
    if first.operation.operation_id != second.operation.operation_id:
        raise RuntimeError("one request id acted twice")


async def the_withdrawal_ends(client: Client, operation_id: str) -> None:
    """The bank says how the withdrawal ended."""
    console.print("\n[bold]The withdrawal ends[/bold]")
    key = operation_pb2.OperationKey(operation_id=operation_id)
    start = operation_pb2.WatchOperationsRequest(from_start=True, member_id=client.id("A"))
    stream = client.operations.WatchOperations(start, timeout=TIMEOUT_S)
    asking = asyncio.create_task(_ask_until_final(client, key))
    async for event in stream:
        operation = event.operation
        if operation.operation_id == operation_id and operation.state in FINAL:
            state = core_pb2.OperationState.Name(operation.state).removeprefix("OPERATION_STATE_")
            console.print(f"  {state}  serial {operation.serial}  after {operation.query_attempts} questions")
            break
    stream.cancel()
    await asking
    await client.show("A")


async def _ask_until_final(client: Client, key: operation_pb2.OperationKey) -> None:
    """The service asks by itself, minutes apart; a demo has no minutes."""
    request = operation_pb2.ResolveOperationRequest(key=key)
    while True:
        answer = await client.ask(client.operations.ResolveOperation, request)
        if answer.operation.state in FINAL:
            return
        await asyncio.sleep(0.3)


async def _open(client: Client, name: str, kind: member_pb2.MemberProperty.ValueType) -> None:
    request = member_pb2.OpenMemberRequest(member_id=client.id(name), property=kind)
    answer = await client.ask(client.members.OpenMember, request)
    word = "00, pays" if kind == member_pb2.MEMBER_PROPERTY_ORDINARY else "SH, collects"
    console.print(f"  {name:8} sub-account {answer.member.sub_account} ({word})")


async def _bound_card(client: Client, name: str) -> str:
    """Bind a card by SMS; in the bank's test environment, and in the sandbox, any six digits are the right code."""
    check = card_pb2.CheckCardBySmsRequest(
        member_id=client.id(name),
        card_number=f"6200{secrets.randbelow(10**12):012d}",
        card_holder_name="Demo",
        identity_type=card_pb2.IDENTITY_TYPE_RESIDENT_CARD,
        identity_number="110101199003070000",
        bank_type=card_pb2.BANK_TYPE_PING_AN,
        branch_name="平安银行",
        mobile="13800000000",
    )
    card = (await client.ask(client.cards.CheckCardBySms, check)).card
    confirm = card_pb2.ConfirmCardBySmsRequest(card_id=card.card_id, code="123456")
    await client.step(
        f"{name} binds card {card.masked_number}: the bank texts a code, which is handed in",
        client.cards.ConfirmCardBySms,
        confirm,
    )
    return str(card.card_id)


def _channel(client: Client) -> topup_pb2.Channel:
    return topup_pb2.Channel(
        type=topup_pb2.CHANNEL_TYPE_WECHAT, merchant_no="1900000109", transaction_no=f"wx{client.run}{client.count}"
    )


def _payment(
    client: Client,
    payer: str,
    payee: str,
    fen: int,
    fee_fen: int,
    settlement: payment_pb2.Settlement.ValueType,
    remark: str = "",
) -> payment_pb2.PayRequest:
    return payment_pb2.PayRequest(
        payer_member_id=client.id(payer),
        payee_member_id=client.id(payee),
        amount_fen=fen,
        fee_fen=fee_fen,
        settlement=settlement,
        remark=remark,
    )
