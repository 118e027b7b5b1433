"""What is checked of amounts before a plan is made."""

from __future__ import annotations

from bankclient import yuan
from jzb.v1.names import ErrorReason
from service import problems
from service.problems import Problem
from service.settings import RulesSettings


def require_parts_allowed(rules: RulesSettings, amount_fen: int, escrow_fen: int) -> None:
    """Less than lies in escrow is confirmed or given back only where the bank has said that it may be. Raises
    `Problem`. More than that is the floor's to refuse.
    """
    if rules.order_in_parts or amount_fen >= escrow_fen:
        return
    raise problems.not_enabled(
        "6034 in parts",
        f"amount_fen: {yuan(amount_fen)} is a part of the order's {yuan(escrow_fen)}, and no document of the bank says"
        " that orders may be ended in parts; confirm or cancel the whole order",
        "JZB_RULES__ORDER_IN_PARTS",
    )


def fee_within(amount_fen: int, fee_fen: int) -> None:
    """A fee is taken out of its amount and cannot exceed it. Raises `Problem`."""
    if fee_fen > amount_fen:
        raise Problem(
            code=problems.invalid("fee_fen", "").code,
            reason=ErrorReason.FEE_EXCEEDS_AMOUNT,
            message=f"fee_fen: {fee_fen} is more than amount_fen {amount_fen}",
            next_step="correct the request; the request id is not used up",
            metadata={"field": "fee_fen", "amount_fen": str(amount_fen), "fee_fen": str(fee_fen)},
            amounts={"amount": amount_fen, "fee": fee_fen},
            violations=(("fee_fen", f"{fee_fen} is more than amount_fen {amount_fen}"),),
        )
