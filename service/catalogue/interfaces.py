"""Every interface of the bank as this service uses it: which RPC carries it, what it does to money, which query settles
a lost answer, and where it is tested. Data only: docs/bank.md is made from it, and tests hold it against the messages,
the contract and the bank's catalogue.
"""

from __future__ import annotations

from dataclasses import dataclass

BY_SERIAL = "6110 by the request's serial"
BY_ROW = "6110 by each row's serial"
BY_STATEMENT = "6110, else 6072 by order number and serial in Remark"
MOVES_NOTHING = "none"
QUESTION = "asked again"


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface.

    ``rpcs`` are Service.Method of jzb.v1; ``reach`` says how it is reached instead when no caller needs an RPC of its
    own. ``effect`` is what it moves, ``settled_by`` what answers for a lost answer, ``tests`` modules under tests/.
    """

    rpcs: tuple[str, ...]
    effect: str
    settled_by: str
    tests: tuple[str, ...]
    reach: str = ""


INTERFACES: dict[str, Interface] = {
    # Members and cards
    "6000": Interface(
        ("MemberService.OpenMember", "MemberService.CloseMember"),
        MOVES_NOTHING,
        "6092 by member code",
        ("service/test_members.py",),
    ),
    "6167": Interface(
        ("MemberService.LinkSameName",), MOVES_NOTHING, "6092 by both member codes", ("service/test_same_name.py",)
    ),
    "6092": Interface((), MOVES_NOTHING, QUESTION, ("service/test_members.py",), reach="asked by the resolver"),
    "6037": Interface(
        ("BalanceService.GetBankBalances", "BalanceService.CompareWithBank"),
        MOVES_NOTHING,
        QUESTION,
        ("service/test_statements.py",),
    ),
    "6066": Interface(
        ("CardService.CheckCardBySms",), MOVES_NOTHING, "6098 by sub-account", ("service/test_cards.py",)
    ),
    "6067": Interface(
        ("CardService.ConfirmCardBySms",), MOVES_NOTHING, "6098 by sub-account", ("service/test_cards.py",)
    ),
    "6055": Interface(
        ("CardService.CheckCardByTransfer",),
        MOVES_NOTHING,
        "6061 by the request's serial, then 6098 by sub-account",
        ("service/test_card_transfers.py",),
    ),
    "6064": Interface(
        ("CardService.ConfirmCardByTransfer",),
        MOVES_NOTHING,
        "6098 by sub-account",
        ("service/test_card_transfers.py",),
    ),
    "6065": Interface(
        ("CardService.UnbindCard",), MOVES_NOTHING, "6098 by sub-account", ("service/test_bound_cards.py",)
    ),
    "6061": Interface(("CardService.GetCardTransfer",), MOVES_NOTHING, QUESTION, ("service/test_card_transfers.py",)),
    "6098": Interface(("CardService.RefreshCards",), MOVES_NOTHING, QUESTION, ("service/test_bound_cards.py",)),
    "6138": Interface(
        ("CardService.CorrectCardBranch",), MOVES_NOTHING, "6098 by sub-account", ("service/test_bound_cards.py",)
    ),
    "6083": Interface(
        ("MemberService.RequestMobileChange",), MOVES_NOTHING, "asked for anew", ("service/test_mobiles.py",)
    ),
    "6084": Interface(
        ("MemberService.ConfirmMobileChange",), MOVES_NOTHING, "6098 by sub-account", ("service/test_mobiles.py",)
    ),
    "6082": Interface(
        ("VerificationService.RequestSmsCode",),
        MOVES_NOTHING,
        "asked for anew",
        ("service/test_verification.py",),
    ),
    # Top-ups
    "6129": Interface(
        ("TopUpService.TopUp",),
        "in-transit to a member (waiting) and to fees",
        BY_SERIAL,
        ("service/test_topups.py",),
    ),
    "6130": Interface(
        ("TopUpService.RevokeTopUp",),
        "a member and fees back to in-transit, in parts",
        BY_SERIAL,
        ("service/test_revocations.py",),
    ),
    "6216": Interface(
        ("TopUpService.SplitTopUp",),
        "in-transit to several members (waiting) and to fees",
        BY_ROW,
        ("service/test_topups.py",),
    ),
    "6217": Interface(
        ("TopUpService.RevokeSplitTopUp",),
        "several members and fees back to in-transit, in parts",
        BY_ROW,
        ("service/test_revocations.py",),
    ),
    # Withdrawals
    "6033": Interface(
        ("WithdrawalService.Withdraw",),
        "withdrawable to withdrawal in-transit, then out of the pooled account; back if it fails",
        f"{BY_SERIAL}; 6048 for later returns",
        ("service/test_withdrawals.py",),
    ),
    "6085": Interface(
        ("WithdrawalService.Withdraw",),
        "as 6033, and withdrawable to fees",
        f"{BY_SERIAL}; 6048 for later returns",
        ("service/test_verification.py",),
    ),
    "6111": Interface(
        ("WithdrawalService.Withdraw",),
        "as 6033, and withdrawable to fees",
        f"{BY_SERIAL}; 6048 for later returns",
        ("service/test_verification.py",),
    ),
    "6048": Interface(
        ("WithdrawalService.CollectReturns",),
        "a returned withdrawal enters: pooled account to the member, the original named",
        QUESTION,
        ("service/test_returns.py",),
    ),
    # Payments and orders
    "6034": Interface(
        (
            "PaymentService.Pay",
            "PaymentService.PrepayOrder",
            "PaymentService.ConfirmOrder",
            "PaymentService.CancelOrder",
        ),
        "payer to payee and fees; through escrow for an order",
        BY_SERIAL,
        ("service/test_payments.py", "service/test_orders.py"),
    ),
    "6101": Interface(
        (
            "PaymentService.Pay",
            "PaymentService.PrepayOrder",
            "PaymentService.ConfirmOrder",
            "PaymentService.CancelOrder",
        ),
        "as 6034",
        BY_SERIAL,
        ("service/test_verification.py",),
    ),
    "6006": Interface(
        (
            "PaymentService.Pay",
            "PaymentService.PrepayOrder",
            "PaymentService.ConfirmOrder",
            "PaymentService.CancelOrder",
        ),
        "as 6034",
        BY_SERIAL,
        ("service/test_verification.py",),
    ),
    "6031": Interface(
        ("PaymentService.SettleOrder",),
        "escrow to the payee and fees, or back to the payer",
        BY_STATEMENT,
        ("service/test_settle_order.py",),
    ),
    "6052": Interface(
        ("BatchService.BatchPrepay", "BatchService.BatchConfirm", "BatchService.BatchPay"),
        "as 6034, row by row",
        BY_STATEMENT,
        ("service/test_batches.py",),
    ),
    "6120": Interface(
        ("BatchService.BatchPrepay", "BatchService.BatchConfirm", "BatchService.BatchPay"),
        "as 6052",
        BY_STATEMENT,
        ("service/test_batches.py",),
    ),
    "6133": Interface(
        ("BatchService.BatchPrepay", "BatchService.BatchConfirm", "BatchService.BatchPay"),
        "as 6052",
        BY_STATEMENT,
        ("service/test_batches.py",),
    ),
    "6164": Interface(
        ("RefundService.Refund",),
        "seller's available money and the refund advance to the buyer; fees to the buyer for a frozen payment's fee",
        f"{BY_SERIAL}; the same serial again while the bank searches its history",
        ("service/test_refunds.py", "service/test_refund_sources.py", "service/test_refund_history.py"),
    ),
    # Freezes
    "6007": Interface(
        ("FreezeService.Freeze", "FreezeService.Release"),
        "available to frozen under an order, and back, less a fee",
        BY_SERIAL,
        ("service/test_freezes.py",),
    ),
    "6135": Interface(
        ("FreezeService.Freeze", "FreezeService.Release"),
        "as 6007",
        BY_SERIAL,
        ("service/test_verification.py",),
    ),
    "6134": Interface(
        ("FreezeService.Freeze", "FreezeService.Release"),
        "as 6007",
        BY_SERIAL,
        ("service/test_verification.py",),
    ),
    "6163": Interface(
        ("FreezeService.PayFrozen",),
        "frozen to several members (waiting) and to fees",
        BY_SERIAL,
        ("service/test_freezes.py",),
    ),
    "6166": Interface(
        ("FreezeService.PayFrozen",),
        "as 6163",
        BY_SERIAL,
        ("service/test_verification.py",),
    ),
    "6165": Interface(
        ("FreezeService.PayFrozen",),
        "as 6163",
        BY_SERIAL,
        ("service/test_verification.py",),
    ),
    # Suspense and acquiring
    "6139": Interface(
        ("SuspenseService.ClearSuspense",),
        "suspense to a member (withdrawable) and to fees",
        BY_SERIAL,
        ("service/test_suspense.py",),
    ),
    "6140": Interface(
        ("SuspenseService.UndoClearSuspense",),
        "a member (withdrawable) and fees back to suspense, in parts",
        BY_SERIAL,
        ("service/test_suspense.py",),
    ),
    "6050": Interface(
        ("SuspenseService.CollectTransfers",),
        "an inflow enters: pooled account to a member or to suspense",
        QUESTION,
        ("service/test_suspense.py",),
    ),
    "6146": Interface(
        ("AcquiringService.RecordOrder", "AcquiringService.GetBankOrder"),
        "an acquired order enters once: in-transit to members (waiting or frozen) and to fees, or to parking",
        QUESTION,
        ("service/test_acquiring.py",),
    ),
    "6147": Interface(
        ("AcquiringService.RecordOrder",),
        "as 6146, of an order that the bank had missed",
        "6146 by order number, then the same serial again",
        ("service/test_acquiring.py",),
    ),
    "6145": Interface(
        ("AcquiringService.RebookOrder",),
        "acquiring parking to the right member and to fees; or a wrong member's money to the right one",
        "6146 by order number",
        ("service/test_acquiring.py",),
    ),
    # Questions
    "6010": Interface(
        ("BalanceService.GetBankBalances", "BalanceService.CompareWithBank"),
        MOVES_NOTHING,
        QUESTION,
        ("service/test_statements.py",),
    ),
    "6011": Interface(("BalanceService.GetPooledBalance",), MOVES_NOTHING, QUESTION, ("service/test_statements.py",)),
    "6072": Interface(("StatementService.ListTransactions",), MOVES_NOTHING, QUESTION, ("service/test_statements.py",)),
    "6073": Interface(
        ("StatementService.ListCashMovements",), MOVES_NOTHING, QUESTION, ("service/test_statements.py",)
    ),
    "6093": Interface(("BalanceService.GetBankBalances",), MOVES_NOTHING, QUESTION, ("service/test_statements.py",)),
    "6108": Interface(
        ("ClearingService.ClearDay", "ClearingService.GetDay"),
        "the night's clearing enters: in-transit into the pooled account, waiting to withdrawable",
        QUESTION,
        ("service/test_clearing.py",),
    ),
    "6109": Interface(("StatementService.ListBankCharges",), MOVES_NOTHING, QUESTION, ("service/test_statements.py",)),
    "6110": Interface(
        ("OperationService.ResolveOperation",),
        "settles what was in doubt",
        QUESTION,
        ("service/test_resolver.py",),
    ),
    "6114": Interface(("BalanceService.ListDayEndBalances",), MOVES_NOTHING, QUESTION, ("service/test_statements.py",)),
    # Files and play money
    "6103": Interface(("FileService.FetchFile",), MOVES_NOTHING, QUESTION, ("service/test_files.py",)),
    "6211": Interface(
        (),
        "real money from outside to a card or the pooled account, where it lies in suspense",
        "nothing: test environment only",
        ("sandbox/test_platform.py",),
        reach="message and sandbox only; never to be sent in production",
    ),
}
"""By interface code."""
