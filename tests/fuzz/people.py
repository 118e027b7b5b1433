"""What happens beside the requests: money that comes in at the bank, orders that are paid, codes that are read.

No made-up request fits any of it but by luck, so each act prepares the requests that do (`Maker.prepare`), and the
fuzz sends them as they are or spoiled.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Final

import grpc

from jzb.v1 import (
    acquiring_pb2,
    batch_pb2,
    card_pb2,
    member_pb2,
    payment_pb2,
    verification_pb2,
    withdrawal_pb2,
    work_pb2,
    work_pb2_grpc,
)
from sandbox.errors import Refused
from sandbox.records import CardCheck, SmsCode, Withdrawal
from service.bankday import bank_today
from tests.fuzz.making import MEMBERS, Maker
from tests.world.acquiring import acquire, rebook_request, record_request, share
from tests.world.binding import PAY_IN, PAY_OUT, sms_request, transfer_request
from tests.world.freezes import freeze, pay_frozen_request, release_request
from tests.world.marketplace import TIMEOUT_S, Marketplace
from tests.world.orders import cancel_request, confirm, confirm_request, prepay
from tests.world.refunds import refund_request
from tests.world.returns import collect as collect_returns
from tests.world.revocations import split_revocation
from tests.world.suspense import PAYER, clearing
from tests.world.suspense import collect as collect_transfers
from tests.world.topups import split_top_up
from tests.world.verifying import ask_code

NEW_MOBILE: Final = "15400000002"
UNVERIFIED: Final = verification_pb2.Verification(none=verification_pb2.NoVerification())
OLD_MOBILE: Final = member_pb2.MOBILE_PROOF_OLD_MOBILE


class People:
    """Payers, holders of cards and the bank itself. One act at a time, drawn by the maker's dice."""

    def __init__(self, shop: Marketplace, maker: Maker) -> None:
        self._shop = shop
        self._maker = maker
        self._dice = maker.dice
        self._bank = shop.sandbox.bank
        self._cards = 0
        self._orders: list[acquiring_pb2.RecordOrderRequest] = []
        self._acts: tuple[Callable[[], Awaitable[None]], ...] = (
            self._a_stranger_pays_in,
            self._somebody_looks_at_the_queue,
            self._an_order_is_paid,
            self._a_withdrawal_comes_back,
            self._a_card_is_checked_by_sms,
            self._a_card_is_checked_by_transfer,
            self._a_mobile_is_to_be_changed,
            self._a_payment_is_verified,
            self._orders_are_prepaid,
            self._money_is_frozen,
            self._a_payment_is_split,
        )

    async def act(self) -> None:
        """One of them does something. What the service or the bank will not have is left undone."""
        with contextlib.suppress(grpc.aio.AioRpcError, Refused):
            await self._dice.choice(self._acts)()

    async def settle(self) -> None:
        """Bring everything into the mirror that the bank has booked without a request."""
        for request in self._orders:
            # A spoiled request may have entered the order without one of its shares, which is then left for itself.
            for one in (request, *self._by_themselves(request)):
                with contextlib.suppress(grpc.aio.AioRpcError):
                    await self._shop.acquiring.RecordOrder(one, timeout=TIMEOUT_S)
        first, last = bank_today(), self._shop.sandbox.clock.today()
        for number in range((last - first).days + 1):
            day, token = first + timedelta(days=number), None
            while token != "":
                page = await collect_transfers(self._shop, day, page_size=200, page_token=token or "")
                token = page.next_page_token
            # No day has as many returns as fit into a page.
            await collect_returns(self._shop, day, page_size=200)

    async def _a_stranger_pays_in(self) -> None:
        member = self._dice.choice(("", "", *MEMBERS))
        sub_account = (await self._shop.balance(member)).sub_account if member else ""
        inflow = self._bank.transfer_in(sub_account, 5_000, PAYER, "")
        self._maker.prepare(clearing(self._shop, inflow.front_seq_no, self._dice.choice(MEMBERS), 100, 1))

    async def _somebody_looks_at_the_queue(self) -> None:
        await collect_transfers(self._shop, self._shop.sandbox.clock.today(), page_size=200)
        queue = work_pb2_grpc.WorkServiceStub(self._shop.channel)
        waiting = await queue.ListWork(work_pb2.ListWorkRequest(), timeout=TIMEOUT_S)
        for item in waiting.items[-3:]:
            self._maker.prepare(work_pb2.AssignWorkRequest(work_id=item.work_id, owner="ann", note="asks the payer"))
            self._maker.prepare(work_pb2.NoteWorkRequest(work_id=item.work_id, note="the payer does not answer"))

    async def _an_order_is_paid(self) -> None:
        numbers = [self._shop.order_no() for _ in range(self._dice.choice((1, 2)))]
        shares = [share(self._dice.choice(MEMBERS), 300, 3, number if len(numbers) > 1 else "") for number in numbers]
        wrong = (await self._shop.balance(self._dice.choice(MEMBERS))).sub_account
        booked_to = self._dice.choice(("", "parking", wrong))
        request = await acquire(self._shop, *shares, missed=self._dice.random() < 0.2, booked_to=booked_to)
        self._orders.append(request)
        self._maker.prepare(request)
        for one in shares:
            self._maker.prepare(
                rebook_request(self._shop, one.sub_order_no or request.order_no, self._dice.choice(MEMBERS))
            )
        self._maker.prepare(acquiring_pb2.GetBankOrderRequest(channel=request.channel, order_no=request.order_no))

    async def _a_withdrawal_comes_back(self) -> None:
        withdrawals = [one for one in self._bank.store.all(Withdrawal) if not one.returned_day]
        if withdrawals:
            self._bank.decide_withdrawal(self._dice.choice(withdrawals).serial, "return")
        today = str(self._shop.sandbox.clock.today())
        self._maker.prepare(withdrawal_pb2.CollectReturnsRequest(first_bank_day=today, last_bank_day=today))

    async def _a_card_is_checked_by_sms(self) -> None:
        member = self._dice.choice(MEMBERS)
        checked = await self._shop.cards.CheckCardBySms(
            sms_request(self._shop, member, self._number()), timeout=TIMEOUT_S
        )
        code = self._last_code("card")
        confirm = card_pb2.ConfirmCardBySmsRequest(
            request_id=self._shop.request_id(), card_id=checked.card.card_id, code=code
        )
        self._maker.prepare(confirm)
        if self._dice.random() < 0.3:
            await self._shop.cards.ConfirmCardBySms(confirm, timeout=TIMEOUT_S)
            self._bound(member, checked.card.card_id)

    async def _a_card_is_checked_by_transfer(self) -> None:
        member, direction = self._dice.choice(MEMBERS), self._dice.choice((PAY_IN, PAY_OUT))
        number = self._number()
        request = transfer_request(self._shop, member, direction, number)
        checked = await self._shop.cards.CheckCardByTransfer(request, timeout=TIMEOUT_S)
        self._maker.prepare(card_pb2.GetCardTransferRequest(card_id=checked.card.card_id))
        known = next(one for one in self._bank.store.all(CardCheck) if one.card[1] == number)
        received_fen = known.amount_fen
        if direction == PAY_IN:
            received_fen = 0
            self._bank.pay_in(known.card[0], number, checked.card.pay_in_fen)
        self._maker.prepare(
            card_pb2.ConfirmCardByTransferRequest(
                request_id=self._shop.request_id(), card_id=checked.card.card_id, received_fen=received_fen
            )
        )

    async def _a_mobile_is_to_be_changed(self) -> None:
        member = self._dice.choice(MEMBERS)
        request = member_pb2.RequestMobileChangeRequest(member_id=member, proof=OLD_MOBILE, mobile=NEW_MOBILE)
        sent = await self._shop.members.RequestMobileChange(request, timeout=TIMEOUT_S)
        self._maker.prepare(
            member_pb2.ConfirmMobileChangeRequest(
                request_id=self._shop.request_id(),
                member_id=member,
                proof=OLD_MOBILE,
                mobile=NEW_MOBILE,
                message_order_no=sent.message_order_no,
                code=self._last_code("mobile"),
            )
        )

    async def _a_payment_is_verified(self) -> None:
        payer, payee = self._dice.choice(MEMBERS[:2]), self._dice.choice(MEMBERS[2:])
        if self._dice.random() < 0.5:
            proof = await ask_code(self._shop, payer, 100, payee)
        else:
            signature = self._bank.type_password((await self._shop.balance(payer)).sub_account)
            proof = verification_pb2.Verification(password=verification_pb2.PasswordVerification(signature=signature))
        self._maker.prepare(
            payment_pb2.PayRequest(
                request_id=self._shop.request_id(),
                payer_member_id=payer,
                payee_member_id=payee,
                amount_fen=100,
                settlement=payment_pb2.SETTLEMENT_T1,
                order_no=self._shop.order_no(),
                verification=proof,
            )
        )

    async def _orders_are_prepaid(self) -> None:
        payer, payee = self._dice.choice(MEMBERS[:2]), self._dice.choice(MEMBERS[2:])
        orders = [await prepay(self._shop, payer, payee, 300) for _ in range(2)]
        payment = await confirm(self._shop, orders[0], 100, 1)
        self._maker.prepare(
            batch_pb2.BatchConfirmRequest(
                request_id=self._shop.request_id(),
                orders=[batch_pb2.OrderToConfirm(order_no=order, amount_fen=50) for order in orders],
                verification=UNVERIFIED,
            )
        )
        self._maker.prepare(confirm_request(self._shop, orders[1], 20))
        self._maker.prepare(cancel_request(self._shop, orders[1], 20))
        self._maker.prepare(
            payment_pb2.SettleOrderRequest(
                request_id=self._shop.request_id(),
                order_no=orders[1],
                end=payment_pb2.ORDER_END_CONFIRM,
                amount_fen=20,
            )
        )
        self._maker.prepare(refund_request(self._shop, payment.serial, 10, 1))

    async def _money_is_frozen(self) -> None:
        order = await freeze(self._shop, self._dice.choice(MEMBERS[:2]), 300)
        self._maker.prepare(pay_frozen_request(self._shop, order, [(self._dice.choice(MEMBERS[2:]), 50)]))
        self._maker.prepare(release_request(self._shop, order, 50))

    async def _a_payment_is_split(self) -> None:
        buyer, payer, *_ = MEMBERS
        top_up = await split_top_up(self._shop, **{buyer: (300, 3), payer: (200, 0)})
        self._maker.prepare(split_revocation(self._shop, top_up.serial, **{buyer: (20, 0), payer: (30, 0)}))

    def _by_themselves(self, order: acquiring_pb2.RecordOrderRequest) -> Iterator[acquiring_pb2.RecordOrderRequest]:
        for one in order.shares:
            if one.sub_order_no:
                alone = acquiring_pb2.OrderShare()
                alone.CopyFrom(one)
                alone.ClearField("sub_order_no")
                request = record_request(self._shop, one.sub_order_no, alone)
                request.channel = order.channel
                yield request

    def _bound(self, member: str, card_id: str) -> None:
        new_id = self._shop.request_id
        self._maker.prepare(card_pb2.UnbindCardRequest(request_id=new_id(), card_id=card_id))
        self._maker.prepare(
            card_pb2.CorrectCardBranchRequest(
                request_id=new_id(), card_id=card_id, branch_name="平安银行", cnaps_no="307584007998"
            )
        )
        self._maker.prepare(
            withdrawal_pb2.WithdrawRequest(
                request_id=new_id(),
                member_id=member,
                amount_fen=100,
                card_id=card_id,
                verification=UNVERIFIED,
            )
        )

    def _last_code(self, purpose: str) -> str:
        return [text.code for text in self._bank.store.all(SmsCode) if text.purpose == purpose][-1]

    def _number(self) -> str:
        self._cards += 1
        return f"{6222000000100000 + self._cards}"
