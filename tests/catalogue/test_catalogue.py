"""Walks the bank's catalogue: every interface has a message, a sandbox handler and an RPC, and every field that the
bank requires can be carried from a caller to the wire.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from google.protobuf.descriptor import Descriptor
from pydantic import BaseModel

from bankclient import REQUESTS
from sandbox.handlers import ROUTES
from service.catalogue.bank_document import shown_by
from service.catalogue.interfaces import INTERFACES, facts
from service.contract import methods
from tests.catalogue.carried import CLIENT_WRITES, FROM_REQUEST, SERVICE_WRITES, carries, snake_case

HERE = Path(__file__).parent


@cache
def catalogue() -> dict[str, dict[str, Any]]:
    """The interfaces by code."""
    loaded = yaml.safe_load((HERE / "catalogue.yaml").read_text("utf-8"))
    return {str(entry["code"]): entry for entry in loaded["interfaces"]}


def required(entry: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(array or empty, field) of everything the bank requires of a request, always or under a condition."""
    for field in entry["request"]:
        if field["required"] in ("Y", "C"):
            yield "", field["name"]
    for array in entry["arrays"] or []:
        if array["in"] == "request":
            for field in array["fields"]:
                if field["required"] in ("Y", "C"):
                    yield array["name"], field["name"]


def row_model(model: type[BaseModel], array: str) -> type[BaseModel] | None:
    """The model of the rows of an array field."""
    if array not in model.model_fields:
        return None
    for part in get_args(model.model_fields[array].annotation):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def fields_of(message: Descriptor, seen: frozenset[str] = frozenset()) -> set[str]:
    """The names of all fields of a request, those of the messages in it included."""
    names = set()
    for field in message.fields:
        names.add(field.name)
        inner = field.message_type
        if inner is not None and inner.full_name.startswith("jzb.") and inner.full_name not in seen:
            names |= fields_of(inner, seen | {inner.full_name})
    return names


def test_the_catalogue_has_each_interface_once_and_the_code_has_no_others() -> None:
    text = (HERE / "catalogue.yaml").read_text("utf-8")
    assert len(catalogue()) == text.count("\n  - code: ") >= 54
    assert sum(bool(entry["in_seed"]) for entry in catalogue().values()) == 46
    assert set(INTERFACES) == set(catalogue()) == set(REQUESTS)


def test_every_interface_has_a_message_with_the_catalogues_service_id() -> None:
    differing = [
        f"{code}: {REQUESTS[code].service_id} here, {entry['service_id']} in the catalogue"
        for code, entry in catalogue().items()
        if REQUESTS[code].service_id != entry["service_id"]
    ]
    assert differing == []


def test_every_interface_is_served_by_the_sandbox() -> None:
    missing = [f"{code} {entry['name_en']}" for code, entry in catalogue().items() if code not in ROUTES]
    assert not missing, "no sandbox handler for:\n" + "\n".join(missing)


def test_every_interface_has_an_rpc_or_says_how_else_it_is_reached() -> None:
    missing = [
        f"{code} {catalogue()[code]['name_en']}"
        for code, interface in INTERFACES.items()
        if not interface.rpcs and not interface.reach
    ]
    assert not missing, "no RPC, and service/catalogue/interfaces.py does not say how it is reached:\n" + "\n".join(
        missing
    )


def test_every_interface_that_an_rpc_declares_has_a_message() -> None:
    unknown = [
        f"{name}: {code}"
        for name, method in methods().items()
        for code in facts(method).bank_interfaces
        if code not in REQUESTS
    ]
    assert not unknown, "RPCs declare interfaces that have no message:\n" + "\n".join(unknown)


def test_every_rpc_that_changes_something_at_the_bank_declares_what_settles_it() -> None:
    for name, method in methods().items():
        changes = any(REQUESTS[code].changes for code in facts(method).bank_interfaces)
        assert bool(facts(method).settled_by) == changes, name


def test_every_interface_is_named_by_a_test_module() -> None:
    missing = [f"{code} {catalogue()[code]['name_en']}" for code in INTERFACES if not shown_by(code)]
    assert not missing, "no test module names in its docstring:\n" + "\n".join(missing)


def test_every_rpc_of_the_contract_belongs_to_an_interface_or_to_the_mirror() -> None:
    from_the_mirror = re.compile(
        r"\.(Get|List|Find|BatchGet|Watch|Wait|BuildOrderRemark$|CheckOrderRemark$|VerifyBooks$|Approve$|Reject$|Adjust$"
        r"|AssignWork$|NoteWork$|(Assign|Annotate|Hold|Close)Break$|(Propose|Approve)SignOff$)"
    )
    named = {rpc for interface in INTERFACES.values() for rpc in interface.rpcs}
    loose = [rpc for rpc in methods() if rpc not in named and not from_the_mirror.search(rpc)]
    assert not loose, "RPCs that no interface in service/catalogue/interfaces.py names:\n" + "\n".join(loose)


def test_every_field_the_bank_requires_is_in_the_message() -> None:
    missing = []
    for code, entry in catalogue().items():
        for array, name in required(entry):
            if name in CLIENT_WRITES:
                continue
            model: type[BaseModel] | None = REQUESTS[code]
            if array:
                model = row_model(REQUESTS[code], array)
            if model is None or name not in model.model_fields:
                missing.append(f"{code} {array or 'request'}.{name}")
    assert not missing, "required by the bank, and in no message:\n" + "\n".join(missing)


def test_every_field_the_bank_requires_can_be_carried_by_an_rpc() -> None:
    missing = []
    for code, entry in catalogue().items():
        interface = INTERFACES[code]
        if not interface.rpcs:
            continue
        carried = set[str]().union(
            *(fields_of(methods()[rpc].input_type) for rpc in interface.rpcs if rpc in methods())
        )
        for array, name in required(entry):
            if name in CLIENT_WRITES or name in SERVICE_WRITES or carries(name, carried):
                continue
            wanted = " or ".join(FROM_REQUEST.get(name, ())) or f"one named like {snake_case(name)}"
            missing.append(f"{code} {array or 'request'}.{name} ({wanted}) by {', '.join(interface.rpcs)}")
    assert not missing, "required by the bank, and no RPC can fill it:\n" + "\n".join(missing)


@pytest.mark.parametrize("code", sorted(INTERFACES))
def test_a_lost_answer_is_settled_as_the_catalogue_has_it(code: str) -> None:
    query = (catalogue()[code]["unknown_outcome"] or {}).get("query")
    if query:
        assert str(query) in INTERFACES[code].settled_by
