"""The policy file gives what it says and nothing else, and its errors name the line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jzb.v1 import options_pb2
from service.policy import EVERYTHING, LOCAL, PolicyWrong, Rights, namespace_of, parse, rights_of

POLICY = """
# Who may do what.
[callers."spiffe://shop.example/orders"]
scopes = ["money.pay", "read.own"]
namespace = "orders"
members = ["S", "B"]
amount_per_call_fen = 5_000_000
amount_per_day_fen = 100_000_000
calls_max = 200

[callers.console]
scopes = ["manual", "read.all", "money.refund"]
namespace = ""
members = ["*"]
needs_person = true

[people."7f0c2a"]
scopes = ["manual", "read.all"]
members = ["S"]
amount_per_call_fen = 100_00
"""


def rights(caller: str, person: str = "") -> Rights:
    found = rights_of(parse(POLICY, "policy.toml"), caller, person)
    assert isinstance(found, Rights), found
    return found


def test_a_caller_has_what_the_file_gives_it() -> None:
    orders = rights("spiffe://shop.example/orders")
    assert orders.scopes == {options_pb2.SCOPE_MONEY_PAY, options_pb2.SCOPE_READ_OWN}
    assert [orders.has_member(one) for one in ("S1", "B22", "X1", "", "s1")] == [True, True, False, False, False]
    assert (orders.per_call_fen, orders.per_day[0].limit_fen, orders.in_flight[0][1]) == (5_000_000, 100_000_000, 200)
    assert not orders.sees_all


def test_who_is_not_named_has_nothing() -> None:
    policy = parse(POLICY, "policy.toml")
    for caller, person in (
        ("spiffe://shop.example/order", ""),
        ("spiffe://shop.example/orders/x", ""),
        (LOCAL, ""),
        ("", ""),
        ("7f0c2a", ""),
        ("console", "somebody"),
        ("console", "console"),
    ):
        assert isinstance(rights_of(policy, caller, person), str), (caller, person)
    assert isinstance(rights_of(parse("", "empty"), LOCAL, ""), str)


def test_a_call_for_a_person_may_do_what_both_may() -> None:
    both = rights("console", "7f0c2a")
    assert both.scopes == {options_pb2.SCOPE_MANUAL, options_pb2.SCOPE_READ_ALL, options_pb2.SCOPE_READ_OWN}
    assert both.has_member("S1")
    assert not both.has_member("B1")
    assert both.per_call_fen == 100_00


def test_who_acts_for_people_alone_does_nothing_without_one() -> None:
    assert "acts for people alone" in str(rights_of(parse(POLICY, "policy.toml"), "console", ""))


def test_namespaces_cannot_be_confused() -> None:
    kept = [
        Rights("a", namespace=namespace).stored(request_id)
        for namespace in ("", "a", "a-b", "b")
        for request_id in ("b", "a-b", "a:b", "a.b", "b:a")
    ]
    assert len(set(kept)) == len(kept)
    assert EVERYTHING.stored("r-1") == "r-1", "what was kept before there were namespaces is found again"
    assert namespace_of("orders/r-1") == ("orders", "r-1")
    assert namespace_of("r-1") == ("", "r-1")
    assert namespace_of("transfer in a/b") == ("", ""), "what the bank did is nobody's"


@pytest.mark.parametrize(
    ("old", "new", "line", "what"),
    [
        ('"money.pay"', '"money.all"', 4, "there is no scope money.all"),
        ('namespace = "orders"', 'namespace = "or/ders"', 5, "namespace"),
        ('namespace = "orders"\n', "", 3, "namespace: Field required"),
        ('members = ["S", "B"]\n', "", 3, "members: Field required"),
        ('["S", "B"]', '["S*"]', 6, "members"),
        ("5_000_000", "-1", 7, "amount_per_call_fen"),
        ("5_000_000", "5.5", 7, "amount_per_call_fen"),
        ("100_000_000", '"100000000"', 8, "amount_per_day_fen"),
        ("calls_max = 200", "calls_maximum = 200", 9, "calls_maximum"),
        ("needs_person", "need_person", 15, "need_person"),
        ('[people."7f0c2a"]', '[peoples."7f0c2a"]', 17, "peoples"),
        ("[people", "[people", 19, "members"),
        ("[callers.console]\n", "[callers.console]\n[callers.console]\n", 12, "declare"),
        ("scopes = [", "scopes = ", 4, "line 4"),
    ],
)
def test_an_error_names_the_line(old: str, new: str, line: int, what: str) -> None:
    text = POLICY.replace(old, new, 1)
    if line == 19:
        text = text.replace('members = ["S"]', "members = 5")
    with pytest.raises(PolicyWrong) as wrong:
        parse(text, "policy.toml")
    assert str(wrong.value).startswith("policy.toml")
    assert f"line {line}" in str(wrong.value), wrong.value
    assert what in str(wrong.value), wrong.value


DOCUMENT = Path(__file__).parents[2] / "docs" / "operations" / "security.md"


def test_the_documented_example_of_two_people_marks_what_it_says() -> None:
    (example,) = (
        one for one in re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL) if "[[app" in one
    )
    policy = parse(example, "security.md")
    orders, manual = options_pb2.SCOPE_MONEY_PAY, options_pb2.SCOPE_MANUAL
    rules = policy.approvals
    for scope, amount_fen, caller, is_marked in (
        (manual, 1, "console.internal", True),
        (orders, 1_000_000, "spiffe://shop.example/orders", False),
        (orders, 1_000_001, "spiffe://shop.example/orders", True),
        (orders, 1_000_001, "spiffe://shop.example/others", False),
        (options_pb2.SCOPE_MONEY_REFUND, 1_000_001, "spiffe://shop.example/orders", False),
    ):
        found = any(rule.is_about(caller) and rule.marks(scope, amount_fen) for rule in rules)
        assert found is is_marked, (scope, amount_fen, caller)
    approver = rights_of(policy, "console.internal", "19d4e0")
    assert isinstance(approver, Rights)
    assert approver.scopes == {options_pb2.SCOPE_APPROVE, options_pb2.SCOPE_READ_OWN}
    assert approver.per_call_fen == 10_000_000


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ('scopes = ["read.all"]', "line 6: approvals.1.scopes: no call of read.all can be approved"),
        ("scopes = []", "line 6: approvals.1.scopes"),
        ('scopes = ["manual"]\namount_above_fen = -1', "line 7: approvals.1.amount_above_fen"),
        ('scopes = ["manual"]\namount_above_yuan = 1', "line 7: approvals.1.amount_above_yuan"),
        ("", "line 5: approvals.1.scopes"),
    ],
)
def test_a_wrong_mark_is_named_with_its_line(rule: str, said: str) -> None:
    first = '[[approvals]]\nscopes = ["manual"]\n'
    with pytest.raises(PolicyWrong) as wrong:
        parse(f"# Two.\n{first}\n[[approvals]]\n{rule}\n", "policy.toml")
    assert said in str(wrong.value)


@pytest.mark.parametrize("nested", ["a = " + "[" * 5000 + "]" * 5000, "a = " + "{a = " * 3000 + "1" + "}" * 3000])
def test_a_file_that_is_nested_without_end_is_a_wrong_one(nested: str) -> None:
    with pytest.raises(PolicyWrong, match=r"policy\.toml is no TOML"):
        parse(nested, "policy.toml")
