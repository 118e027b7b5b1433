"""Where each field that the bank requires comes from: the client, the service's own knowledge, or the caller."""

from __future__ import annotations

import re

CLIENT_WRITES = frozenset({"FundSummaryAcctNo"})
"""Written into every request by bankclient, from the settings."""

SERVICE_WRITES = {
    "Ccy": "RMB, in every interface",
    "FunctionFlag": "chosen by the RPC",
    "InSubAcctNum": "counted",
    "OldOrderNo": "the mirror, from the payment or the order",
    "OldTranSeqNo": "the mirror, from the payment",
    "OrdersCount": "counted",
    "PageNum": "counted",
    "QueryFlag": "chosen by the RPC",
    "RefundOrderNum": "counted",
    "TotalRefundAmt": "added up",
    "TranSeqNo": "a serial of the service",
    "TranTotalAmt": "added up",
    "TranType": "chosen by the RPC",
    "TranWebName": "the platform's code, from the settings",
}
"""Never asked of a caller."""

_MEMBER = ("member_id", "key", "operation_id", "card_id")
_PAYER = ("payer_member_id", "payment_serial", "member_id", "order_no", "from_member_id")
_PAYEE = ("payee_member_id", "payees", "payment_serial", "rows", "member_id", "order_no", "to_member_id")
_AMOUNT = ("amount_fen", "amount")
_FEE = ("fee_fen", "fee_on_top_fen")
_CARD = ("card_number", "card_id")
_NAME = ("card_holder_name", "holder_name", "name", "member_id", "payer_member_id")
_SMS = ("message_order_no", "sms", "verification", "binding_id")
_CODE = ("code", "sms_code", "verification")

FROM_REQUEST: dict[str, tuple[str, ...]] = {
    "AcctOpenBranchName": ("branch_name",),
    "AcquiringChannelType": ("channel", "order_no"),
    "Amt": (*_AMOUNT, "order_no"),
    "ApplyCancelCommission": _FEE,
    "ApplyCancelMemberAmt": _AMOUNT,
    "ApplyTakeCashAmt": _AMOUNT,
    "AuthAmt": ("received_fen",),
    "BankCardNo": _CARD,
    "BankType": ("bank_type",),
    "BeginDate": ("first_bank_day",),
    "CancelAmt": _AMOUNT,
    "CashAmt": _AMOUNT,
    "CnapsBranchId": ("cnaps_no",),
    "Commission": _FEE,
    "CommonSubAcctMemberCode": ("ordinary_member_id",),
    "EiconBankBranchId": ("super_bank_no",),
    "EjzbOrderNo": ("order_no",),
    "EndDate": ("last_bank_day", "bank_day"),
    "FileDate": ("bank_day",),
    "FileType": ("type",),
    "InMemberCode": _PAYEE,
    "InSubAcctName": _PAYEE,
    "InSubAcctNo": _PAYEE,
    "InTranNetMemberCode": _PAYEE,
    "MemberAcctNo": _CARD,
    "MemberBindAcctNo": _CARD,
    "MemberFillAmt": _AMOUNT,
    "MemberGlobalId": ("identity_number",),
    "MemberGlobalType": ("identity_type",),
    "MemberName": _NAME,
    "MemberProperty": ("property",),
    "MemberSubAcctNo": _MEMBER,
    "MerSubAcctMemberCode": ("merchant_member_id",),
    "MessageCheckCode": _CODE,
    "MessageOrderNo": _SMS,
    "Mobile": ("mobile",),
    "ModifyType": ("proof",),
    "NewMobile": ("mobile",),
    "OldFillEjzbOrderNo": ("top_up_serial",),
    "OldFillFrontSeqNo": ("top_up_serial",),
    "OldFillPayChannelType": ("top_up_serial",),
    "OldInMemberCode": ("payment_serial",),
    "OldInSubAcctNo": ("payment_serial",),
    "OldOutMemberCode": ("payment_serial",),
    "OldOutSubAcctNo": ("payment_serial",),
    "OldPayChannelTranSeqNo": ("top_up_serial",),
    "OldPayChannelType": ("top_up_serial",),
    "OldTotalOrderNo": ("top_up_serial",),
    "OrderNo": ("order_no",),
    "OutAmtAcctName": _NAME,
    "OutMemberCode": _PAYER,
    "OutSubAcctName": _PAYER,
    "OutSubAcctNo": _PAYER,
    "OutTranNetMemberCode": _PAYER,
    "PayChannelAssignMerNo": ("merchant_no",),
    "PayChannelTranSeqNo": ("transaction_no",),
    "PayChannelType": ("channel",),
    "RechargeSubAcctNo": _MEMBER,
    "Remark": ("remark", "payee_member_id"),
    "ReservedMsg": ("remark", "payee_member_id", "payment_serial", "verification"),
    "ReturnAmt": _AMOUNT,
    "ReturnCommission": _FEE,
    "StartDate": ("first_bank_day", "bank_day"),
    "SubAcctName": _NAME,
    "SubAcctNo": (*_MEMBER, "order_no", "allocation_serial"),
    "SubOrderFeeRefundAmt": _FEE,
    "SubOrderFillMemberCd": _MEMBER,
    "SubOrderMemberRefundAmt": _AMOUNT,
    "SubOrderNo": ("order_no",),
    "SubOrderRefundMemberCd": _MEMBER,
    "SubOrderRefundOrderNo": ("order_no", "member_id"),
    "SubOrderRefundSubAcctNo": _MEMBER,
    "SubOrderTranAmt": _AMOUNT,
    "SubOrderTranFee": _FEE,
    "SuspendAmt": _AMOUNT,
    "TakeCashAcctName": _NAME,
    "TakeCashAcctNo": _CARD,
    "TakeCashCommission": _FEE,
    "TotalOrderNo": ("order_no",),
    "TranAmt": _AMOUNT,
    "TranCommission": _FEE,
    "TranDate": ("key", "card_id"),
    "TranFee": _FEE,
    "TranNetMemberCode": (*_MEMBER, "payee_member_id", "allocation_serial"),
    "TranNetSeqNo": ("key",),
    "TranWebMemberId": _MEMBER,
    "WebSign": ("signature", "verification"),
}
"""Wire field to the fields of a request of which one must be there; the mirror knows the rest by it."""


def snake_case(name: str) -> str:
    """A wire field's name as the contract would write it: IpAddress is ip_address."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def carries(name: str, fields: set[str]) -> bool:
    """Whether one of a request's fields fills a wire field: those of the table, else one of the same name, which may
    leave the first words off (OpClickTime is click_time).
    """
    if name in FROM_REQUEST:
        return bool(fields & set(FROM_REQUEST[name]))
    return any(f"_{snake_case(name)}".endswith(f"_{field}") for field in fields)
