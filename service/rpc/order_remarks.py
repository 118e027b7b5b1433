"""Requests of BuildOrderRemark as remarks, and violations of a remark as the error they are to a caller."""

from __future__ import annotations

from dataclasses import replace

import grpc

from bankclient import yuan
from jzb.v1 import acquiring_pb2
from jzb.v1.names import ErrorReason
from ledger.names import MemberCode
from service import problems
from service.plans import order_remark
from service.plans.order_remark import Remark, Row, Violation
from service.plans.plan import Facts
from service.problems import Problem

TYPES = {
    acquiring_pb2.REMARK_PRODUCT_AGGREGATED: order_remark.AGGREGATED,
    acquiring_pb2.REMARK_PRODUCT_QUICK: order_remark.QUICK,
}


def remark_of(request: acquiring_pb2.BuildOrderRemarkRequest, facts: Facts, platform: str) -> Remark:
    """What a request asks to be written. Whether the bank would take it is judged by `order_remark.checked`."""
    frozen = acquiring_pb2.ORDER_CREDIT_FROZEN
    if request.refunds:
        return Remark(
            order_remark.WITH_SUB_ORDERS,
            order_remark.REFUND,
            platform,
            tuple(
                Row(
                    facts.sub_account(MemberCode(one.member_id)),
                    one.amount_fen,
                    one.fee_fen,
                    one.credit == frozen,
                    one.sub_order_no,
                    one.refund_no,
                    one.text,
                )
                for one in request.refunds
            ),
        )
    rows = tuple(
        Row(
            facts.sub_account(MemberCode(one.member_id)),
            one.amount_fen,
            one.fee_fen,
            one.credit == frozen,
            one.sub_order_no,
            text=one.text,
        )
        for one in request.shares
    )
    if len(rows) == 1 and not rows[0].number:
        # A plain order's row has no text of its own.
        rows = (replace(rows[0], text=""),)
        return Remark(order_remark.PLAIN, TYPES[request.product], platform, rows)
    return Remark(order_remark.WITH_SUB_ORDERS, TYPES[request.product], platform, rows)


def plain_amount(share_fen: int, amount_fen: int) -> Violation:
    """A plain order's share must be the order's amount, which its remark does not repeat."""
    return Violation(
        "shares[0].amount_fen",
        f"is {yuan(share_fen)}, the order has {yuan(amount_fen)}",
        {"sum": share_fen, "amount": amount_fen},
    )


def invalid(violations: list[Violation]) -> Problem:
    """The error of a remark that the bank would not take: all of them, and the first gives the amounts."""
    first = violations[0]
    described = [(violation.path, violation.description) for violation in violations]
    return Problem(
        grpc.StatusCode.INVALID_ARGUMENT,
        ErrorReason.ORDER_REMARK_INVALID,
        problems.first_violations(described),
        next_step="correct the order before it is paid; nothing was recorded or sent",
        metadata={"field": first.path},
        amounts=first.amounts,
        violations=described,
    )
