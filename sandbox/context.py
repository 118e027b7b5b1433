"""What a handler works with: the bank's books and day, and the request in hand.

A handler takes a `Context` and its typed request, refuses by raising `Refused`, moves money by `post`,
remembers by `put` and `book`, and returns its typed reply. The bank commits when it returns and
takes everything back when it raises, so a handler may check as late as it likes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from bankclient.messages import Booked
from sandbox import codes
from sandbox.books import Books, Move
from sandbox.clock import day_text
from sandbox.errors import Refused
from sandbox.faults import NO_FAULTS, FaultPlan, Faults
from sandbox.filestore import FileStore
from sandbox.records import (
    FAILED,
    SUCCEEDED,
    FrontSerial,
    Member,
    MemberCode,
    Order,
    Trade,
    order_key,
)
from sandbox.settings import SandboxSettings
from sandbox.store import Store

ORDINARY: Final = "00"
MERCHANT: Final = "SH"


@dataclass(slots=True)
class Context:
    """The state of the bank, its day, and the request's serial and interface code."""

    store: Store
    settings: SandboxSettings
    now: datetime
    serial: str = ""
    code: str = ""
    asked_by: str = ""
    fault_plan: FaultPlan = NO_FAULTS
    faults: Faults = field(default_factory=Faults)
    files: FileStore = field(default_factory=FileStore)
    ends_day: bool = False
    """Set by a handler after whose answer the bank's day is over."""

    @property
    def books(self) -> Books:
        """Balances to read; they change by `post` only."""
        return self.store.books

    @property
    def today(self) -> str:
        """The bank day, yyyyMMdd."""
        return day_text(self.now.date())

    def functional_no(self, suffix: str) -> str:
        """Number of a functional sub-account: platform code and twelve digits."""
        return f"{self.settings.mrch_code}{int(suffix):012d}"

    def member(self, sub_acct_no: str, code: str | None = None) -> Member:
        """The open sub-account of that number, which must belong to `code` if one is given."""
        member = self.store.get(Member, sub_acct_no)
        if member is None or member.closed:
            raise Refused(codes.NO_SUB_ACCOUNT)
        if code is not None and member.code != code:
            known = self.store.get(MemberCode, code)
            raise Refused(codes.NO_MEMBER if known is None else codes.NO_SUB_ACCOUNT)
        return member

    def member_by_code(self, code: str) -> Member:
        """The open sub-account of a platform member."""
        known = self.store.get(MemberCode, code)
        member = known and self.store.get(Member, known.sub_acct_no)
        if not member or member.closed:
            raise Refused(codes.NO_MEMBER)
        return member

    def payer(self, sub_acct_no: str, code: str) -> Member:
        """A member who may pay: an ordinary one (quick start 6000)."""
        member = self.member(sub_acct_no, code)
        if member.kind != ORDINARY:
            raise Refused(codes.NO_AUTHORITY, "商户子账户只收款不付款")
        return member

    def payee(self, sub_acct_no: str, code: str) -> Member:
        """A member who may collect: a merchant (quick start 6000)."""
        member = self.member(sub_acct_no, code)
        if member.kind != MERCHANT:
            raise Refused(codes.NO_AUTHORITY, "普通子账户只付款不收款")
        return member

    def post(self, *moves: Move) -> None:
        """Move money; a shortage becomes the bank's refusal."""
        self.store.post(moves)

    def open_order(self, order: Order) -> None:
        """Take an order number into use; refuses one that is in use."""
        if self.store.get(Order, order.key) is not None:
            raise Refused(codes.ORDER_REPEATED)
        self.store.put(order)

    def order(self, kind: str, order_no: str, opened_by: tuple[str, ...]) -> Order:
        """The order under a number, opened by one of these interfaces."""
        order = self.store.get(Order, order_key(kind, order_no))
        if order is None or order.opened_by not in opened_by:
            raise Refused(codes.NO_ORDER)
        return order

    def front_seq_no(self) -> str:
        """A new serial of the bank: its day as yyMMdd and ten digits."""
        return f"{self.now:%y%m%d}{self.store.next_number('front_seq_no'):010d}"

    def serial_is_free(self, serial: str) -> bool:
        """Whether a serial of a row was never used by a transaction that did not fail."""
        trade = self.store.get(Trade, serial)
        return trade is None or trade.status == FAILED

    def book(
        self,
        booking_flag: str,
        *,
        function_flag: str = "",
        serial: str | None = None,
        front_seq_no: str | None = None,
        status: str = SUCCEEDED,
        out_sub_acct_no: str = "",
        in_sub_acct_no: str = "",
        amount_fen: int,
        fee_fen: int = 0,
        order_no: str | None = None,
        remark: str | None = None,
    ) -> Booked:
        """Remember a transaction for 6110 (and later for lists and files); returns the answer with its FrontSeqNo.

        `serial` is that of a row, the request's own when left out.
        """
        front = front_seq_no or self.front_seq_no()
        trade = Trade(
            serial=serial or self.serial,
            call_serial=self.serial,
            code=self.code,
            function_flag=function_flag,
            asked_by=self.asked_by,
            booking_flag=booking_flag,
            status=status,
            at=self.now.isoformat(timespec="seconds"),
            day=self.today,
            front_seq_no=front,
            out_sub_acct_no=out_sub_acct_no,
            in_sub_acct_no=in_sub_acct_no,
            amount_fen=amount_fen,
            fee_fen=fee_fen,
            order_no=order_no or "",
            remark=remark or "",
        )
        self.store.put(trade)
        self.store.put(FrontSerial(front, trade.serial))
        return Booked(FrontSeqNo=front)


def positive(amount_fen: int) -> int:
    """An amount that must be more than nothing."""
    if amount_fen <= 0:
        raise Refused(codes.AMOUNT_NOT_POSITIVE)
    return amount_fen


def within(fee_fen: int, amount_fen: int) -> int:
    """A fee that is taken out of an amount and cannot be more than it."""
    if fee_fen > amount_fen:
        raise Refused(codes.AMOUNT_MISMATCH, "手续费大于交易金额")
    return fee_fen
