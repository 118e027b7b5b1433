"""The typed messages, and both ways over the wire."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from bankclient import (
    CLIENT_FIELDS,
    REQUESTS,
    REQUESTS_BY_SERVICE_ID,
    ClearingResult,
    Freeze,
    MemberBalancesReply,
    MemberPayment,
    MemberPaymentByPassword,
    Reply,
    Request,
    ReturnedWithdrawals,
    SplitTopUp,
    SplitTopUpRow,
    SubAccountBalances,
    SubAccountBalancesReply,
    TransactionStatusReply,
    to_wire,
)


def payment(**changes: object) -> MemberPayment:
    return MemberPayment.model_validate(
        {
            "FunctionFlag": "6",
            "OutSubAcctNo": "9930000000001000",
            "OutMemberCode": "buyer",
            "InSubAcctNo": "9930000000001001",
            "InMemberCode": "seller",
            "TranAmt": 10_000,
            "TranFee": 1_000,
        }
        | changes
    )


def split_top_up(*rows: SplitTopUpRow, count: int | None = None) -> SplitTopUp:
    return SplitTopUp(
        PayChannelType="0001",
        PayChannelAssignMerNo="m",
        TotalOrderNo="o",
        TranTotalAmt=100_000,
        OrdersCount=len(rows) if count is None else count,
        TranItemArray=rows,
    )


ROW = SplitTopUpRow(
    RechargeSubAcctNo="9930000000001000",
    SubOrderFillMemberCd="a",
    SubOrderTranAmt=45_000,
    SubOrderTranFee=5_000,
    SubOrderNo="o1",
)


def test_every_interface_has_one_class_found_by_code_and_service_id() -> None:
    unpublished = {code for code, request in REQUESTS.items() if request.service_id is None}
    assert unpublished == {"6133", "6134", "6165", "6167"}
    assert len(REQUESTS_BY_SERVICE_ID) == len(REQUESTS) - len(unpublished) >= 50
    assert REQUESTS_BY_SERVICE_ID["MemberTransaction"] is MemberPayment


@pytest.mark.parametrize("request_class", REQUESTS.values(), ids=REQUESTS.keys())
def test_every_request_names_its_reply_and_leaves_common_fields_to_the_client(
    request_class: type[Request[Any]],
) -> None:
    assert issubclass(request_class.reply, Reply)
    assert not CLIENT_FIELDS & request_class.model_fields.keys()
    assert request_class.__doc__ is not None
    assert request_class.__doc__.startswith(request_class.code)


def test_a_request_goes_out_as_text_without_what_is_absent() -> None:
    assert to_wire(payment(OrderNo="n1")) == {
        "FunctionFlag": "6",
        "OutSubAcctNo": "9930000000001000",
        "OutMemberCode": "buyer",
        "InSubAcctNo": "9930000000001001",
        "InMemberCode": "seller",
        "TranAmt": "100.00",
        "TranFee": "10.00",
        "TranType": "01",
        "Ccy": "RMB",
        "OrderNo": "n1",
    }


def test_rows_counts_and_days_go_out_as_text_too() -> None:
    wire = to_wire(split_top_up(ROW))
    assert wire["OrdersCount"] == "1"
    assert wire["TranItemArray"] == [
        {
            "RechargeSubAcctNo": "9930000000001000",
            "SubOrderFillMemberCd": "a",
            "SubOrderTranAmt": "450.00",
            "SubOrderTranFee": "50.00",
            "SubOrderNo": "o1",
        }
    ]
    day = date(2024, 11, 5)
    returned = ReturnedWithdrawals(FunctionFlag="1", StartDate=day, EndDate=day)
    assert to_wire(returned)["StartDate"] == "20241105"
    assert to_wire(SubAccountBalances(QueryFlag="3"))["PageNum"] == "1"


def test_a_request_read_from_the_wire_is_the_one_that_was_written() -> None:
    for request in (payment(Remark="备注"), split_top_up(ROW)):
        body = to_wire(request) | {"CnsmrSeqNo": "s", "ReservedMsg": ""}
        assert type(request).from_wire(body) == request


@pytest.mark.parametrize(
    "change",
    [
        {"TranAmt": "100.00"},
        {"TranAmt": 100.0},
        {"TranAmt": True},
        {"TranAmt": -1},
        {"TranAmt": 100_000_000_000_000},
        {"FunctionFlag": "5"},
        {"FunctionFlag": 6},
        {"OutMemberCode": ""},
        {"OutMemberCode": "x" * 33},
        {"OutMemberCode": None},
        {"Remark": "null"},
        {"Remark": ""},
        {"Remark": "a\nb"},
        {"Remark": "\ud83d"},
        {"Remark": "注" * 121},
        {"CnsmrSeqNo": "X285502411050123456789"},
        {"FunctionFlag": "1", "OrderNo": None},
    ],
    ids=repr,
)
def test_a_request_that_breaks_a_rule_cannot_be_built(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        payment(**change)


def test_a_refused_value_is_not_repeated_in_the_error() -> None:
    with pytest.raises(ValidationError) as raised:
        payment(OutSubAcctName="张三丰" * 50)
    assert "张三丰" not in str(raised.value)


def test_personal_fields_are_masked_when_a_message_is_printed() -> None:
    printed = repr(payment(OutSubAcctName="张三丰"))
    assert "张三丰" not in printed
    assert "OutSubAcctName='***'" in printed
    assert "TranAmt=10000" in printed


def test_a_request_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        payment().TranAmt = 1


@pytest.mark.parametrize(("rows", "count"), [(0, 0), (1, 2), (26, 26)])
def test_rows_are_counted_and_limited(rows: int, count: int) -> None:
    with pytest.raises(ValidationError):
        split_top_up(*[ROW] * rows, count=count)


def test_days_are_required_where_the_flag_says_so() -> None:
    with pytest.raises(ValidationError, match="StartDate"):
        ClearingResult(FunctionFlag="2")


def test_the_password_flavour_requires_the_signature_of_the_page() -> None:
    fields = {k: v for k, v in payment().model_dump().items() if v is not None}
    with pytest.raises(ValidationError, match="WebSign"):
        MemberPaymentByPassword(**fields, OutSubAcctName="a", InSubAcctName="b")


def test_a_twin_knows_only_its_own_fields() -> None:
    with pytest.raises(ValidationError, match="MessageCheckCode"):
        payment(MessageCheckCode="123456")


@pytest.mark.parametrize("text", ["1e3", "1.005", "", "1,000.00", "-0.01", 100, 1.5, True])
def test_the_sandbox_side_reads_amounts_just_as_strictly(text: object) -> None:
    with pytest.raises(ValidationError):
        MemberPayment.from_wire(to_wire(payment()) | {"TranAmt": text})


BALANCES = {
    "SubAcctNo": "9930000000001000",
    "SubAcctCashBal": "33.0",
    "SubAcctAvailBal": "7200.0",
    "SubAcctFreezeAmt": "0.00",
}


def test_a_reply_is_read_whatever_the_form_of_its_amounts() -> None:
    reply = MemberBalancesReply.from_wire(BALANCES | {"ReservedMsg": "", "New": "field"})
    assert (reply.SubAcctCashBal, reply.SubAcctAvailBal) == (3_300, 720_000)
    assert reply.ReservedMsg is None


@pytest.mark.parametrize(("text", "amount"), [("-5.00", -500), ("10000000000000.00", 10**15)])
def test_a_balance_may_be_negative_or_as_large_as_any_in_the_books(text: str, amount: int) -> None:
    assert MemberBalancesReply.from_wire(BALANCES | {"SubAcctCashBal": text}).SubAcctCashBal == amount


@pytest.mark.parametrize(
    "number",
    ["", "null", None, "x", "1.001", "10000000000000.01", "-10000000000000.01", True, 5, Decimal("33.0"), [], {}],
)
def test_a_reply_without_an_exact_amount_is_refused(number: object) -> None:
    with pytest.raises(ValidationError):
        MemberBalancesReply.from_wire(BALANCES | {"SubAcctCashBal": number})


STATUS = {"BookingFlag": "2", "TranStatus": "0", "TranAmt": "1.00"}


@pytest.mark.parametrize("name", ["OldTranFrontSeqNo", "TranDate", "TranStatus", "FailMsg"])
def test_a_number_which_is_not_signed_takes_no_texts_place(name: str) -> None:
    with pytest.raises(ValidationError):
        TransactionStatusReply.from_wire(STATUS | {name: 241105})


@pytest.mark.parametrize("nothing", ["", "null", None])
def test_texts_that_are_not_signed_say_nothing(nothing: str | None) -> None:
    assert TransactionStatusReply.from_wire(STATUS | {"OldTranFrontSeqNo": nothing}).OldTranFrontSeqNo is None
    assert TransactionStatusReply.from_wire(STATUS | {"BookingFlag": nothing or ""}).BookingFlag == ""


def test_the_counts_of_a_list_that_nothing_reads_may_be_anything() -> None:
    reply = SubAccountBalancesReply.from_wire({"EndFlag": "1", "TotalNum": 20, "ResultNum": []})
    assert (reply.TotalNum, reply.ResultNum) == (None, None)


def test_a_reply_may_hold_longer_texts_than_a_request() -> None:
    reply = TransactionStatusReply.from_wire(
        {"BookingFlag": "2", "TranStatus": "1", "TranAmt": "1.00", "FailMsg": "长" * 2000}
    )
    assert reply.FailMsg == "长" * 2000


def test_a_page_of_rows_is_read_with_missing_optional_parts() -> None:
    row = {
        "SubAcctNo": "9930000000000007",
        "SubAcctProperty": "7",
        "TranNetMemberCode": "",
        "SubAcctName": "",
        "AcctAvailBal": "-12.5",
        "CashAmt": "0",
        "MaintenanceDate": "20241105",
    }
    reply = SubAccountBalancesReply.from_wire({"EndFlag": "1", "AcctArray": [row]})
    assert reply.AcctArray[0].AcctAvailBal == -1_250
    assert SubAccountBalancesReply.from_wire({"EndFlag": "1"}).AcctArray == ()


def test_a_reply_goes_out_the_way_it_came_in() -> None:
    reply = MemberBalancesReply.from_wire(BALANCES)
    assert to_wire(reply) == BALANCES | {"SubAcctCashBal": "33.00", "SubAcctAvailBal": "7200.00"}


def test_a_release_may_carry_its_fee() -> None:
    release = Freeze(
        FunctionFlag="2",
        SubAcctNo="9930000000001000",
        TranNetMemberCode="a",
        TranAmt=10_000,
        TranCommission=1_000,
        OrderNo="n1",
    )
    assert to_wire(release)["TranCommission"] == "10.00"
