"""What the plans of these tests are made of: three members, their serials, an operation that the mirror has."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from ledger import Member, Operation, State
from ledger.names import MemberCode, Serial, SubAccount
from service.plans.plan import Facts, Serials

PAYER = Member(member_id=MemberCode("payer"), sub_account=SubAccount("9930000000001000"), property="00")
PAYEE = Member(member_id=MemberCode("payee"), sub_account=SubAccount("9930000000001001"), property="SH")
THIRD = Member(member_id=MemberCode("third"), sub_account=SubAccount("9930000000001002"), property="SH")
FACTS = Facts({member.member_id: member for member in (PAYER, PAYEE, THIRD)})
SERIALS = Serials(Serial("X285502611240000000001"), (Serial("26112400000000000001"), Serial("26112400000000000002")))


def operation(kind: str, **fields: Any) -> Operation:
    """One that the mirror has, DONE."""
    moment = datetime(2026, 11, 24, tzinfo=UTC)
    keep = fields.pop("keep", {})
    known: dict[str, Any] = {
        **dict.fromkeys(Operation._fields, ""),
        "id": UUID(int=1),
        "kind": kind,
        "serial": "X285502611240000000009",
        "state": State.DONE,
        "plan_text": json.dumps({"keep": keep}),
        "created_at": moment,
        "updated_at": moment,
    }
    return Operation(**{**known, **fields})
