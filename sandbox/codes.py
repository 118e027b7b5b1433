"""The codes the sandbox answers with, and their Chinese texts.

Meanings follow transport.md 3.4 and 3.5. Which call returns which code is not public: the choice
for each refusal is made where it is raised. The texts are our own, except the history answer of
6164, which is the quick start's word for word.
"""

from __future__ import annotations

from typing import Final

OK: Final = "000000"
OK_MESSAGE: Final = "交易成功"
FAILED_MESSAGE: Final = "交易失败"
"""Beside a code that has no text of its own here."""

SEARCHING_HISTORY_MESSAGE: Final = "未检索到原交易，正在尝试查询历史数据，请稍后再试"
"""6164, quick start: wait about five minutes and send the same refund again."""

NO_RECORD: Final = "ERR020"
WRONG_FLAG: Final = "ERR021"
WRONG_PLATFORM: Final = "ERR026"
NO_SUB_ACCOUNT: Final = "ERR031"
AMOUNT_NOT_POSITIVE: Final = "ERR042"
INSUFFICIENT: Final = "ERR044"
WRONG_SERIAL: Final = "ERR070"
BALANCE_LEFT: Final = "ERR095"
MEMBER_EXISTS: Final = "ERR114"
NO_CARD: Final = "ERR235"
NO_ORDER: Final = "ERR115"
AMOUNT_MISMATCH: Final = "ERR126"
ORDER_REPEATED: Final = "ERR127"
NO_AUTHORITY: Final = "ERR130"
CARD_BOUND: Final = "ERR134"
CHECK_UNDER_WAY: Final = "ERR135"
NO_VERIFICATION: Final = "ERR137"
WRONG_SMS_CODE: Final = "ERR138"
NOT_NOW: Final = "ERR143"
OTHER_SUB_ACCOUNT: Final = "ERR149"
PAY_OUT_WAITS: Final = "ERR145"
PAY_OUT_EXPIRED: Final = "ERR147"
ACCOUNT_NAME_DIFFERS: Final = "ERR125"
HOLDER_DIFFERS: Final = "ERR111"
NAME_DIFFERS: Final = "ERR175"
IN_CLEARING: Final = "ERR152"
TOO_MANY_ERRORS: Final = "ERR157"
SERIAL_REPEATED: Final = "ERR160"
INSTRUCTION_EXPIRED: Final = "ERR163"
ROUTING_MISSING: Final = "ERR236"
CARDS_BOUND: Final = "ERR252"
NO_MEMBER: Final = "ERR254"
WRONG_POOLED_ACCOUNT: Final = "ERR256"
TOO_MANY_CHECKS: Final = "ERR258"
WITHDRAWAL_UNDER_WAY: Final = "ERR263"
NO_CHECK: Final = "ERR264"
NOT_PAID_IN: Final = "ERR265"
ORIGINAL_NOT_FOUND: Final = "ERR270"
REFUND_OVER_LIMIT: Final = "ERR271"
ORDER_FUNDS_SHORT: Final = "ERR317"
FIELD_INVALID: Final = "ERR936"
SYSTEM_ERROR: Final = "ERR108"
QUERY_LATER: Final = "ERR957"
PAGE_OUT_OF_RANGE: Final = "E80011"
TOO_MANY_PAYEES: Final = "EF0048"

MESSAGES: Final[dict[str, str]] = {
    NO_RECORD: "无符合条件记录",
    WRONG_FLAG: "功能码错误",
    "ERR025": "核心系统异常",
    WRONG_PLATFORM: "平台代码错误或未开通服务",
    NO_SUB_ACCOUNT: "子账户不存在或无效",
    AMOUNT_NOT_POSITIVE: "金额必须大于零",
    INSUFFICIENT: "可用余额不足",
    WRONG_SERIAL: "流水号不符合要求",
    BALANCE_LEFT: "余额不为零，不允许销户",
    SYSTEM_ERROR: "系统异常",
    MEMBER_EXISTS: "会员代码已存在",
    NO_CARD: "绑卡信息不存在或异常",
    CARD_BOUND: "账号已绑定",
    CHECK_UNDER_WAY: "短信验证进行中",
    PAY_OUT_WAITS: "前一次申请尚未处理完",
    PAY_OUT_EXPIRED: "已超过回填有效时间，请重新申请",
    ACCOUNT_NAME_DIFFERS: "账户名称不符",
    HOLDER_DIFFERS: "持卡人信息不符",
    NAME_DIFFERS: "姓名不符",
    TOO_MANY_ERRORS: "验证错误次数过多，请重新申请",
    ROUTING_MISSING: "大小额行号与超级网银号不能同时为空",
    CARDS_BOUND: "存在绑定账户，不允许销户",
    TOO_MANY_CHECKS: "鉴权次数超过限制",
    WITHDRAWAL_UNDER_WAY: "存在在途提现，不允许解绑",
    NO_CHECK: "无此鉴权申请",
    NOT_PAID_IN: "来账尚未匹配",
    NO_ORDER: "订单不存在",
    AMOUNT_MISMATCH: "金额不符",
    ORDER_REPEATED: "订单号重复",
    NO_AUTHORITY: "无此交易权限",
    NO_VERIFICATION: "无此验证信息",
    WRONG_SMS_CODE: "短信验证码不匹配",
    NOT_NOW: "当前不允许进行该交易",
    OTHER_SUB_ACCOUNT: "子账户与原订单不符",
    IN_CLEARING: "市场清算中，请稍后再试",
    SERIAL_REPEATED: "流水号重复",
    INSTRUCTION_EXPIRED: "指令已过期或已使用",
    NO_MEMBER: "会员代码不存在",
    WRONG_POOLED_ACCOUNT: "资金汇总账号错误",
    ORIGINAL_NOT_FOUND: "原交易不存在",
    REFUND_OVER_LIMIT: "退款金额超过可退金额",
    ORDER_FUNDS_SHORT: "订单可用资金不足",
    "ERR923": "数据库异常",
    FIELD_INVALID: "必输要素缺失或不符合要求",
    QUERY_LATER: "交易异常，请稍后查询交易结果",
    PAGE_OUT_OF_RANGE: "页码超出范围",
    TOO_MANY_PAYEES: "收款方数量须为1至5",
}

PASSING: Final = frozenset(
    {"ERR025", SYSTEM_ERROR, NOT_NOW, IN_CLEARING, "ERR923", QUERY_LATER},
)
"""Refusals that are about the moment, not the request: the same serial may be tried again."""

TOKEN_MISSING: Final = "OPEN-E-100071"  # noqa: S105 - a return code, not a secret
TOKEN_WRONG: Final = "OPEN-E-100073"  # noqa: S105
SIGNATURE_REJECTED: Final = "OPEN-E-100074"
NO_SUCH_SERVICE: Final = "OPEN-E-100003"
APPLICATION_UNKNOWN: Final = "OPEN-E-100001"

GATEWAY_OK: Final = "OPEN-E-000000"
GATEWAY_MESSAGES: Final[dict[str, str]] = {
    GATEWAY_OK: "成功",
    APPLICATION_UNKNOWN: "应用不存在",
    NO_SUCH_SERVICE: "服务不存在",
    TOKEN_MISSING: "授权令牌不存在",
    TOKEN_WRONG: "授权令牌错误或已过期，请重新认证",
    SIGNATURE_REJECTED: "验签失败",
}
