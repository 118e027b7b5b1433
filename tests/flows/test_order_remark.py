"""The remark of an acquired order: pure, then through BuildOrderRemark and CheckOrderRemark."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import grpc
import pytest

from jzb.v1 import acquiring_pb2
from ledger.names import SubAccount
from service.plans.order_remark import (
    AGGREGATED,
    CASHIER_PAGE_MAX,
    PAY_API_MAX,
    PLAIN,
    QUICK,
    REFUND,
    WITH_SUB_ORDERS,
    Remark,
    Row,
    Violation,
    checked,
    written,
)
from tests.world.acquiring import build_request, share
from tests.world.marketplace import TIMEOUT_S, Marketplace
from tests.world.verifying import sub_account

A, B = "9930000000001001", "9930000000001002"

SPLIT = Remark(
    WITH_SUB_ORDERS,
    AGGREGATED,
    "9930",
    (
        Row(SubAccount(A), 60_00, 1_00, is_frozen=False, number="S1"),
        Row(SubAccount(B), 40_00, 0, is_frozen=True, number="S2"),
    ),
)
FULL_AMOUNT = 100_00


def faults_of(text: str, amount_fen: int = FULL_AMOUNT, length_max: int = CASHIER_PAGE_MAX) -> list[Violation]:
    return checked(text, platform="9930", amount_fen=amount_fen, length_max=length_max)[1]


def changed(remark: Remark, path: list[Any], value: Any) -> str:
    """The remark with one value of its JSON changed, or taken out (None)."""
    content = json.loads(written(remark))
    place: Any = content[0]
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(content, ensure_ascii=False)


def test_an_order_with_sub_orders_is_written_as_the_bank_spells_it() -> None:
    assert written(SPLIT) == (
        '[{"SFJOrdertype":"1","remarktype":"JHS0100000","plantCode":"9930","oderlist":['
        f'{{"SubAccNo":"{A}","PayModel":"1","TranFee":"1.00","subamount":"60.00","suborderId":"S1"}},'
        f'{{"SubAccNo":"{B}","PayModel":"0","TranFee":"0.00","subamount":"40.00","suborderId":"S2"}}]}}]'
    )
    assert faults_of(written(SPLIT), length_max=PAY_API_MAX) == []


@pytest.mark.parametrize("remark_type", [AGGREGATED, QUICK])
def test_a_plain_order_has_one_row_of_three_fields(remark_type: str) -> None:
    plain = Remark(PLAIN, remark_type, "9930", (Row(SubAccount(A), 5_00, 50, is_frozen=False),))
    assert json.loads(written(plain)) == [
        {
            "SFJOrdertype": "0",
            "remarktype": remark_type,
            "plantCode": "9930",
            "oderlist": [{"SubAccNo": A, "PayModel": "1", "TranFee": "0.50"}],
        }
    ]
    assert checked(written(plain), platform="9930", amount_fen=5_00, length_max=PAY_API_MAX) == (plain, [])


def test_a_refund_names_the_sub_order_and_a_number_of_its_own() -> None:
    row = Row(SubAccount(A), 5_00, 50, is_frozen=True, number="S1", refund_number="R1", text="退货")
    refund = Remark(WITH_SUB_ORDERS, REFUND, "9930", (row,))
    (written_row,) = json.loads(written(refund))[0]["oderlist"]
    assert written_row == {
        "SubAccNo": A,
        "refundModel": "0",
        "RefundTranFee": "0.50",
        "subrefundamt": "5.00",
        "suborderId": "S1",
        "subrefundId": "R1",
        "object": "退货",
    }
    assert checked(written(refund), platform="9930", amount_fen=5_00, length_max=PAY_API_MAX) == (refund, [])


def test_every_remark_that_is_written_is_read_back() -> None:
    for remark_type in (AGGREGATED, QUICK):
        remark = dataclasses.replace(SPLIT, remark_type=remark_type)
        assert checked(written(remark), platform="9930", amount_fen=FULL_AMOUNT, length_max=300) == (remark, [])


def test_the_list_is_read_under_the_right_spelling_as_well() -> None:
    assert faults_of(written(SPLIT).replace("oderlist", "orderlist")) == []
    upper = changed(SPLIT, ["oderlist", 0, "Object"], "a text")
    remark, faults = checked(upper, platform="9930", amount_fen=FULL_AMOUNT, length_max=CASHIER_PAGE_MAX)
    assert (remark.rows[0].text, faults) == ("a text", [])


def test_the_sum_of_the_sub_orders_must_be_the_orders_amount_and_both_are_told() -> None:
    (fault,) = faults_of(written(SPLIT), amount_fen=100_01)
    assert fault == Violation(
        "oderlist",
        "the sum of subamount is 100.00, the order has 100.01",
        {"sum": 100_00, "amount": 100_01},
    )


def test_a_fee_above_its_share_is_named_with_both_amounts() -> None:
    (fault,) = faults_of(changed(SPLIT, ["oderlist", 0, "TranFee"], "60.01"))
    assert (fault.path, fault.amounts) == ("oderlist[0].TranFee", {"fee": 60_01, "amount": 60_00})
    assert "60.01" in fault.description
    assert "60.00" in fault.description


def test_a_remark_may_fit_the_cashier_page_and_not_the_payment_interface() -> None:
    row = Row(SubAccount(A), FULL_AMOUNT, 0, is_frozen=False, number="S1", text="货" * 250)
    text = written(Remark(WITH_SUB_ORDERS, AGGREGATED, "9930", (row,)))
    assert PAY_API_MAX < len(text) <= CASHIER_PAGE_MAX
    assert faults_of(text) == []
    (fault,) = faults_of(text, length_max=PAY_API_MAX)
    assert fault == Violation("remark", f"has {len(text)} characters, 300 is the most")


@pytest.mark.parametrize("length", [PAY_API_MAX, PAY_API_MAX + 1])
def test_the_length_counts_to_the_last_character(length: int) -> None:
    row = Row(SubAccount(A), FULL_AMOUNT, 0, is_frozen=False, number="S1", text="x")
    text = written(Remark(WITH_SUB_ORDERS, AGGREGATED, "9930", (row,)))
    longer = text.replace('"x"', '"' + "x" * (length - len(text) + 1) + '"')
    assert len(longer) == length
    assert bool(faults_of(longer, length_max=PAY_API_MAX)) == (length > PAY_API_MAX)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (["SFJOrdertype"], "2", "SFJOrdertype"),
        (["remarktype"], "XYZ0100000", "remarktype"),
        (["remarktype"], None, "remarktype"),
        (["plantCode"], "9931", "plantCode"),
        (["oderlist"], [], "oderlist"),
        (["oderlist", 0], "row", "oderlist[0]"),
        (["oderlist", 0, "SubAccNo"], None, "oderlist[0].SubAccNo"),
        (["oderlist", 0, "SubAccNo"], "9" * 33, "oderlist[0].SubAccNo"),
        (["oderlist", 0, "PayModel"], "2", "oderlist[0].PayModel"),
        (["oderlist", 0, "PayModel"], 1, "oderlist[0].PayModel"),
        (["oderlist", 0, "TranFee"], "-0.01", "oderlist[0].TranFee"),
        (["oderlist", 0, "TranFee"], "1.005", "oderlist[0].TranFee"),
        (["oderlist", 0, "subamount"], 60, "oderlist[0].subamount"),
        (["oderlist", 0, "subamount"], "-60.00", "oderlist[0].subamount"),
        (["oderlist", 1, "suborderId"], "S" * 23, "oderlist[1].suborderId"),
        (["oderlist", 1, "suborderId"], None, "oderlist[1].suborderId"),
        (["oderlist", 1, "suborderId"], "S1", "oderlist[1].suborderId"),
        (["oderlist", 1, "object"], "x" * 501, "oderlist[1].object"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(path: list[Any], value: Any, named: str) -> None:
    assert named in [fault.path for fault in faults_of(changed(SPLIT, path, value))]


def test_a_number_of_22_characters_is_the_longest() -> None:
    assert faults_of(changed(SPLIT, ["oderlist", 1, "suborderId"], "S" * 22)) == []


def test_refund_numbers_differ_while_a_sub_order_may_be_refunded_twice_in_one_remark() -> None:
    rows = tuple(
        Row(SubAccount(A), 50_00, 0, is_frozen=False, number="S1", refund_number=number) for number in ("R1", "R2")
    )
    refund = Remark(WITH_SUB_ORDERS, REFUND, "9930", rows)
    assert faults_of(written(refund)) == []
    twice = changed(refund, ["oderlist", 1, "subrefundId"], "R1")
    assert [fault.path for fault in faults_of(twice)] == ["oderlist[1].subrefundId"]


@pytest.mark.parametrize("text", ["", "no json", "{}", "[]", "[{},{}]", "[1]", "[" * 5000])
def test_what_is_not_an_array_of_one_object_is_named_as_a_whole(text: str) -> None:
    assert [fault.path for fault in faults_of(text, length_max=20_000)] == ["remark"]


def test_two_rows_make_no_plain_order_and_a_refund_is_none_either() -> None:
    plain = changed(SPLIT, ["SFJOrdertype"], "0")
    assert [fault.path for fault in faults_of(plain)] == ["oderlist"]
    refund = dataclasses.replace(SPLIT, order_type=PLAIN, remark_type=REFUND, rows=SPLIT.rows[:1])
    assert "SFJOrdertype" in [fault.path for fault in faults_of(written(refund))]


async def test_the_service_builds_a_remark_that_its_own_check_finds_good(shop: Marketplace) -> None:
    await shop.merchant("A")
    await shop.buyer("B")
    request = build_request(100_00, share("A", 60_00, 1_00, "S1"), share("B", 40_00, 0, "S2"))
    built = await shop.acquiring.BuildOrderRemark(request, timeout=TIMEOUT_S)
    assert (built.length, built.length_max) == (len(built.remark), 300)
    check = acquiring_pb2.CheckOrderRemarkRequest(
        remark=built.remark, carrier=acquiring_pb2.REMARK_CARRIER_PAY_API, amount_fen=100_00
    )
    found = await shop.acquiring.CheckOrderRemark(check, timeout=TIMEOUT_S)
    assert (list(found.violations), found.remark_type) == ([], AGGREGATED)
    assert [(row.member_id, row.amount_fen, row.fee_fen, row.sub_order_no) for row in found.rows] == [
        ("A", 60_00, 1_00, "S1"),
        ("B", 40_00, 0, "S2"),
    ]
    assert shop.calls_received("ChargeDetailQuery") == 0


async def test_the_service_writes_plain_orders_quick_payments_and_refunds(shop: Marketplace) -> None:
    await shop.merchant("A")
    plain = build_request(
        5_00,
        share("A", 5_00, credit=acquiring_pb2.ORDER_CREDIT_FROZEN),
        product=acquiring_pb2.REMARK_PRODUCT_QUICK,
    )
    (content,) = json.loads((await shop.acquiring.BuildOrderRemark(plain, timeout=TIMEOUT_S)).remark)
    assert (content["SFJOrdertype"], content["remarktype"]) == ("0", QUICK)
    assert content["oderlist"] == [{"SubAccNo": await sub_account(shop, "A"), "PayModel": "0", "TranFee": "0.00"}]
    refund = build_request(
        5_00,
        refunds=[
            acquiring_pb2.RefundShare(
                member_id="A",
                amount_fen=5_00,
                fee_fen=50,
                credit=acquiring_pb2.ORDER_CREDIT_AVAILABLE,
                sub_order_no="S1",
                refund_no="R1",
            )
        ],
    )
    (content,) = json.loads((await shop.acquiring.BuildOrderRemark(refund, timeout=TIMEOUT_S)).remark)
    assert (content["remarktype"], content["oderlist"][0]["subrefundId"]) == (REFUND, "R1")


async def test_an_order_that_the_bank_would_not_take_is_refused_with_fields_and_amounts(shop: Marketplace) -> None:
    await shop.merchant("A")
    sums = await shop.refusal(
        shop.acquiring.BuildOrderRemark(
            build_request(100_01, share("A", 60_00, 0, "S1"), share("A", 40_00, 40_01, "S2")), timeout=TIMEOUT_S
        )
    )
    assert (sums.code, sums.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "ORDER_REMARK_INVALID")
    assert set(sums.violations) == {"oderlist", "oderlist[1].TranFee"}
    assert sums.amounts == {"fee": 40_01, "amount": 40_00}
    plain = await shop.refusal(shop.acquiring.BuildOrderRemark(build_request(2, share("A", 1)), timeout=TIMEOUT_S))
    assert (plain.amounts, list(plain.violations)) == ({"sum": 1, "amount": 2}, ["shares[0].amount_fen"])
    long = await shop.refusal(
        shop.acquiring.BuildOrderRemark(build_request(1, share("A", 1, 0, "S1", text="x" * 300)), timeout=TIMEOUT_S)
    )
    assert list(long.violations) == ["remark"]
    unknown = await shop.refusal(
        shop.acquiring.BuildOrderRemark(build_request(1, share("nobody", 1)), timeout=TIMEOUT_S)
    )
    assert unknown.reason == "MEMBER_NOT_FOUND"


async def test_the_check_tells_of_a_sub_account_that_would_have_its_money_parked(shop: Marketplace) -> None:
    request = acquiring_pb2.CheckOrderRemarkRequest(
        remark=written(SPLIT), carrier=acquiring_pb2.REMARK_CARRIER_CASHIER_PAGE, amount_fen=99_99
    )
    found = await shop.acquiring.CheckOrderRemark(request, timeout=TIMEOUT_S)
    assert [fault.field for fault in found.violations] == ["oderlist", "oderlist[0].SubAccNo", "oderlist[1].SubAccNo"]
    assert {amount.name: amount.amount_fen for amount in found.violations[0].amounts} == {
        "sum": 100_00,
        "amount": 99_99,
    }
    assert found.length_max == 2500


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["SFJOrdertype"], "1\0"),
        (["oderlist", 0, "SubAccNo"], "\ud83d"),
        (["oderlist", 0, "SubAccNo"], "\0"),
        (["oderlist", 1, "suborderId"], "\x85"),
        (["oderlist", 1, "object"], "a\ud83d"),
        (["oderlist", 0, "subamount"], "92233720368547758.07"),
        (["oderlist", 0, "subamount"], "-92233720368547758.07"),
    ],
)
async def test_what_no_bank_and_no_ledger_can_carry_is_a_fault_of_the_remark(
    shop: Marketplace, path: list[Any], value: str
) -> None:
    remark = json.dumps(json.loads(changed(SPLIT, path, value)))
    request = acquiring_pb2.CheckOrderRemarkRequest(
        remark=remark, carrier=acquiring_pb2.REMARK_CARRIER_CASHIER_PAGE, amount_fen=FULL_AMOUNT
    )
    found = await shop.acquiring.CheckOrderRemark(request, timeout=TIMEOUT_S)
    assert any(fault.field.endswith(path[-1]) for fault in found.violations)


async def test_the_sum_of_rows_as_large_as_any_is_told(shop: Marketplace) -> None:
    rows = [{**row, "subamount": "92233720368547758.07"} for row in json.loads(written(SPLIT))[0]["oderlist"]]
    request = acquiring_pb2.CheckOrderRemarkRequest(
        remark=changed(SPLIT, ["oderlist"], rows),
        carrier=acquiring_pb2.REMARK_CARRIER_CASHIER_PAGE,
        amount_fen=FULL_AMOUNT,
    )
    found = await shop.acquiring.CheckOrderRemark(request, timeout=TIMEOUT_S)
    assert [fault.field for fault in found.violations][:2] == ["oderlist[0].subamount", "oderlist[0].subamount"]


async def test_an_order_with_a_hundred_faults_is_still_told_what_is_wrong(shop: Marketplace) -> None:
    await shop.merchant("A")
    refunds = [
        acquiring_pb2.RefundShare(
            member_id="A",
            amount_fen=1,
            fee_fen=2,
            credit=acquiring_pb2.ORDER_CREDIT_AVAILABLE,
            sub_order_no="S",
            refund_no="R",
            text="农" * 500,
        )
        for _ in range(100)
    ]
    refusal = await shop.refusal(
        shop.acquiring.BuildOrderRemark(build_request(5_00, refunds=refunds), timeout=TIMEOUT_S)
    )
    assert (refusal.reason, len(refusal.violations)) == ("ORDER_REMARK_INVALID", 10)
    assert refusal.message.endswith("more")
