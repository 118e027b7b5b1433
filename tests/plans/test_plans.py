"""Every plan against its page in plans.txt: each field that goes to the bank, each leg, each question.

What the bank is asked for and what the mirror moves agree by `test_plans_property.py`; here it is pinned what that is.
After a change that is meant, `python -m tests.plans.test_plans` writes the pages anew; a reader judges what differs.
"""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from jzb.v1 import error_reason_pb2
from service.catalogue.interfaces import facts
from service.contract import methods
from tests.plans.plan_cases import all_plans, page

PAGES = Path(__file__).with_name("plans.txt")
MARK = "== "

# Not made before the tests run: a plan that cannot be made fails the tests, and leaves the others to be collected.
plans = functools.cache(all_plans)


def pages() -> dict[str, str]:
    found = PAGES.read_text(encoding="utf-8").split(f"\n{MARK}")[1:]
    return {name: text.strip("\n") for name, _, text in (one.partition("\n") for one in found)}


PAGE = pages()


def test_every_page_has_its_plan() -> None:
    assert list(PAGE) == list(plans())


@pytest.mark.parametrize("name", PAGE)
def test_a_plan_is_as_its_page_says(name: str) -> None:
    assert page(plans()[name]) == PAGE[name]


@pytest.mark.parametrize("name", PAGE)
def test_a_plan_that_needs_a_member_open_has_its_refusal_declared(name: str) -> None:
    plan = plans()[name]
    changes = [one for one in methods().values() if "request_id" in one.input_type.fields_by_name]
    rpcs = [one for one in changes if plan.message.code in facts(one).bank_interfaces]
    assert rpcs or not plan.needs
    for rpc in rpcs if plan.needs else ():
        assert error_reason_pb2.ERROR_REASON_MEMBER_CLOSING in facts(rpc).reasons, rpc.full_name


if __name__ == "__main__":
    PAGES.write_text(
        "What each request says to the bank, moves and asks. Legs are in fen; <day> is the bank's booking day.\n"
        + "".join(f"\n{MARK}{name}\n{page(plan)}\n" for name, plan in plans().items()),
        encoding="utf-8",
    )
