"""The text both sides sign, against the worked examples of transport.md 2.5 to 2.7."""

import hashlib
import json
from collections.abc import Callable

import pytest

from bankclient import MessageInvalid, canonical_string
from bankclient.canonical import shadowed_fields


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def test_example_a_the_approve_call() -> None:
    content = canonical_string(
        {
            "SDKType": "api",
            "RandomNumber": "482915",
            "ApplicationID": "e1d0cb0b-0000-0000-0000-000000000001",
        }
    )
    assert len(content) == 83
    assert md5(content) == "93b764fce594e83cb1a2058f9380bc91"


def test_example_b_a_business_call_with_an_array() -> None:
    body = json.loads(
        """{"ApplicationID":"e1d0cb0b-0000-0000-0000-000000000001",
        "AppAccessToken":"0123456789ABCDEF0123456789ABCDEF","ApiVersionNo":"1.0.7",
        "CnsmrSeqNo":"X285502411050123456789","FundSummaryAcctNo":"15000000000001",
        "MrchCode":"3284","RequestMode":"json","ReservedMsg":"","SDKType":"api",
        "SdkSeid":"2448sandbox-host","TxnCode":"KFEJZB6164","TxnTime":"20241105093000000",
        "ValidTerm":"20170801","OldTranSeqNo":"X285502411050000000001","TotalRefundAmt":"10.00",
        "TranItemArray":[{"SubOrderNo":"A1","RefundAmt":"6.00","Remark":"first"},
        {"SubOrderNo":"A2","RefundAmt":"4.00","Remark":""}],"RsaSign":"ignored"}"""
    )
    content = canonical_string(body)
    assert len(content) == 429
    assert md5(content) == "d944dfbff69c58db54134fbaba0f5898"


def test_example_c_an_answer() -> None:
    content = canonical_string(
        {
            "TxnReturnCode": "000000",
            "TxnReturnMsg": "交易成功",
            "CnsmrSeqNo": "X285502411050123456789",
            "FrontSeqNo": "2411051234567890",
            "tokenExpiryFlag": "false",
            "ReservedMsg": "",
            "RsaSign": "…",
            "errorCode": "outside",
            "errorMsg": "outside",
        }
    )
    assert len(content) == 131
    assert md5(content) == "76670bea8a059ef1cc85916bc7d31157"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, ""),
        ({"b": "2", "B": "1", "0": "0"}, "0=0&B=1&b=2&"),
        ({"a": 1, "b": 2.5, "c": True, "d": None, "e": "5"}, "e=5&"),
        ({"a": "", "b": "null", "c": "NULL"}, "c=NULL&"),
        ({"a": {"b": {"c": "1"}}, "d": "2"}, "abc=1&d=2&"),
        ({"a": [{"x": "1", "y": "1"}, {"x": "2"}]}, "ax=2&ay=1&"),
        ({"a": [{"x": "1"}, {"x": ""}]}, ""),
        ({"a": ["one", "two"]}, "one=one&two=two&"),
        ({"p": {"a": ["one"]}}, "pone=one&"),
        ({"p": [{"a": [{"b": "1"}]}]}, "pab=1&"),
        ({"a": []}, ""),
        ({"p": {"RsaSign": "1"}}, "pRsaSign=1&"),
        ({"a": " x=1&y "}, "a= x=1&y &"),
    ],
)
def test_each_rule_of_the_flattening(body: dict[str, object], text: str) -> None:
    assert canonical_string(body) == text.encode()


def test_keys_sort_by_utf16_units_so_astral_characters_come_before_the_last_of_the_plane() -> None:
    astral, last = "\U0001f600", "\uffee"
    assert sorted([astral, last]) == [last, astral]
    assert canonical_string({last: "2", astral: "1"}) == f"{astral}=1&{last}=2&".encode()


@pytest.mark.parametrize("element", [1, True, None, ["nested"]])
def test_an_array_of_anything_but_texts_and_objects_is_refused(element: object) -> None:
    with pytest.raises(MessageInvalid):
        canonical_string({"a": [element]})


def test_half_a_character_in_a_key_is_refused_and_not_a_fault() -> None:
    with pytest.raises(MessageInvalid):
        canonical_string({"\ud83d": "a", "b": "c"})


def test_half_a_character_is_refused() -> None:
    with pytest.raises(MessageInvalid):
        canonical_string({"a": "\ud83d"})


def test_nesting_without_end_is_refused() -> None:
    body: dict[str, object] = {"x": "1"}
    for _ in range(100):
        body = {"x": body}
    with pytest.raises(MessageInvalid):
        canonical_string(body)


@pytest.mark.parametrize("check", [canonical_string, shadowed_fields])
def test_32_objects_in_one_another_are_read_and_33_are_not(check: Callable[[dict[str, object]], object]) -> None:
    wraps: list[Callable[[object], dict[str, object]]] = [lambda inner: {"x": inner}, lambda inner: {"x": [inner]}]
    for wrap in wraps:
        body: dict[str, object] = {"x": "1"}
        for _ in range(31):
            body = wrap(body)
        check(body)
        with pytest.raises(MessageInvalid):
            check(wrap(body))


@pytest.mark.parametrize(
    ("body", "named"),
    [
        # A name without a letter leads elsewhere and is signed alike.
        ({"a": {"b": {"c": "1"}}, "": {"a": {"b": {"c": "2"}}}}, {"abc"}),
        ({"a": [{"b": [{"c": "1"}]}], "": {"a": [{"b": [{"c": "2"}]}]}}, {"abc"}),
        ({"p": {"a": ["one"]}, "": {"p": {"a": ["one"]}}}, {"pone"}),
        ({"a": ["one"], "b": ["one"]}, {"one"}),
        ({"a": {"b": "1"}, "ab": "2"}, {"ab"}),
        # An array's own name leads to its objects and to its texts, though it is not signed with the texts.
        ({"a": [{"": [{"b": "1"}]}], "": [{"a": [{"b": "2"}]}]}, {"ab"}),
        ({"ab": [{"c": "1"}], "a": [{"bc": "2"}]}, {"abc"}),
        ({"x": {"a": ["yz"]}, "xy": {"a": ["z"]}}, {"xyz"}),
        ({"a": [{"b": "1"}, {"b": "2"}]}, set()),
        ({"a": ["one", "two"]}, set()),
    ],
)
def test_what_is_signed_alike_from_two_places_is_named(body: dict[str, object], named: set[str]) -> None:
    assert shadowed_fields(body) == named


def test_a_field_inside_another_that_signs_like_a_top_field_is_named() -> None:
    forged = {"TxnReturnCode": "000000", "Txn": {"ReturnCode": "ERR044"}}
    assert canonical_string(forged) == b"TxnReturnCode=ERR044&"
    assert shadowed_fields(forged) == {"TxnReturnCode"}
    assert shadowed_fields({"TxnReturnCode": "000000", "Rows": [{"Code": "1"}]}) == set()


def test_what_stands_where_it_is_read_is_not_named_and_what_is_read_elsewhere_is() -> None:
    body = {"Code": "1", "Rows": [{"Code": "2"}]}
    assert shadowed_fields(body, {"Code": ("Code",), "RowsCode": ("Rows", "Code")}) == set()
    assert shadowed_fields(body, {"RowsCode": ("RowsCode",)}) == {"RowsCode"}
    assert shadowed_fields(body, {"Code": ("Co", "de")}) == {"Code"}
