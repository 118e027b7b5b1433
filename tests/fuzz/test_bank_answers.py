"""Whatever the bank answers: no exception, no outcome that its signed words do not prove, never another amount."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from bankclient import REQUESTS, UNKNOWN_CODES, Answer, AnswerOutcome, MessageInvalid, Reply, canonical_string, sign
from bankclient.outcome import Received, judge
from bankclient.signing import BankCertificate
from sandbox.server import Sandbox
from sandbox.settings import SandboxSettings
from service.process.server import running
from tests.bankclient.keys import Keys, make_keys
from tests.fuzz.lying import DAYS, Liar, nothing_unforeseen
from tests.fuzz.spoiling import as_json, broken_json, spoiled, tampered
from tests.world.doubts import rested
from tests.world.marketplace import LENIENT, open_marketplace, service_settings

SERIAL = "X285502411050123456789"

TRIES = 30
"""So many answers of each interface, in each of three tests."""

NAMED_SOON = {"poll_s": None, "name_after_s": 0.05}


@pytest.fixture(scope="session")
def keys() -> Keys:
    return make_keys()


@pytest.fixture(scope="session")
def certificate(keys: Keys) -> BankCertificate:
    return BankCertificate.from_bytes(keys.bank_pem)


def whole(reply: type[BaseModel], dice: Random, rows_max: int = 3) -> dict[str, Any]:
    """A body with every field of a reply, its amounts as the bank writes them."""
    body: dict[str, Any] = {}
    for name, field in reply.model_fields.items():
        kinds = [field.annotation, *get_args(field.annotation)]
        kinds += [inner for kind in kinds for inner in get_args(kind)]
        rows = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if rows:
            body[name] = [whole(rows[0], dice) for _ in range(dice.randint(0, rows_max))]
        elif int in kinds:
            body[name] = dice.choice((f"{dice.randint(0, 10**9)}.{dice.randint(0, 99):02d}", "33.0", "7200", "-5.00"))
        else:
            body[name] = str(dice.randint(0, 10**6))
    return body


def answered(code: str, content: bytes, certificate: BankCertificate) -> Answer[Any]:
    """The judgement of what came for a request of an interface."""
    request = REQUESTS[code].model_construct()
    return judge(request, SERIAL, Received(200, content, 1), certificate).answer


def signed(body: dict[str, Any], keys: Keys) -> bytes:
    plain = json.loads(as_json(body), parse_float=Decimal)
    return as_json({**body, "RsaSign": sign(keys.bank, canonical_string(plain))})


def amounts(read: Any, said: Any) -> Iterator[tuple[int, Any]]:
    """Every amount of a reply beside what the bank had written there."""
    for name, value in read:
        if isinstance(value, tuple):
            for row, row_said in zip(value, said.get(name) or (), strict=True):
                yield from amounts(row, row_said)
        elif isinstance(value, int):
            yield value, said[name]


@pytest.mark.parametrize("code", REQUESTS)
def test_a_signed_answer_is_read_exactly_or_not_at_all(code: str, keys: Keys, certificate: BankCertificate) -> None:
    # A signed code that nobody knows refuses a question, which moves nothing; of anything else it proves nothing.
    is_question = not REQUESTS[code].changes
    dice = Random(code)
    outcomes = set()
    for _ in range(TRIES):
        common = {
            "TxnReturnCode": "000000",
            "TxnReturnMsg": "成功",
            "CnsmrSeqNo": SERIAL,
            "FrontSeqNo": "2411051234567",
        }
        body = {**whole(REQUESTS[code].reply, dice), **common}
        try:
            content = signed(spoiled(body, dice) if dice.random() < 0.8 else body, keys)
        except MessageInvalid:
            # Not even the bank could sign it: half a pair of UTF-16.
            continue
        answer = answered(code, content, certificate)
        outcomes.add(answer.outcome)
        if answer.outcome is AnswerOutcome.DONE:
            said = json.loads(content, parse_float=Decimal)
            assert said["TxnReturnCode"] == "000000"
            assert isinstance(answer.reply, Reply)
            for fen, text in amounts(answer.reply, said):
                assert Fraction(str(text)) * 100 == fen
        else:
            is_refused = is_question and bool(answer.evidence) and answer.code not in ("", "000000", *UNKNOWN_CODES)
            assert answer.outcome is (AnswerOutcome.REFUSED if is_refused else AnswerOutcome.UNKNOWN)
            assert answer.reply is None
    assert {AnswerOutcome.UNKNOWN, AnswerOutcome.DONE} <= outcomes


@pytest.mark.parametrize("code", REQUESTS)
def test_bytes_that_were_changed_on_the_way_never_bring_about_another_answer(
    code: str, keys: Keys, certificate: BankCertificate
) -> None:
    dice = Random(code)
    for outcome, return_code in ((AnswerOutcome.DONE, "000000"), (AnswerOutcome.REFUSED, "ERR044")):
        # Of several rows the signature covers the last value of each key alone (transport.md 2.3).
        body = {**whole(REQUESTS[code].reply, dice, 1), "TxnReturnCode": return_code, "CnsmrSeqNo": SERIAL}
        content = signed(body, keys)
        true = answered(code, content, certificate)
        assert true.outcome is outcome
        for _ in range(TRIES):
            answer = answered(code, broken_json(content, dice), certificate)
            if answer.outcome is not AnswerOutcome.UNKNOWN:
                assert (answer.outcome, answer.reply, answer.code) == (true.outcome, true.reply, true.code)


def whole_signed(code: str, dice: Random, keys: Keys) -> dict[str, Any]:
    """A good answer, as a tree, with its signature."""
    body = {**whole(REQUESTS[code].reply, dice), "TxnReturnCode": "000000", "CnsmrSeqNo": SERIAL}
    return {**body, "RsaSign": sign(keys.bank, canonical_string(body))}


def covered(reply: Any) -> dict[str, Any]:
    """What the signature covers of a reply: of several rows the last value of each field (transport.md 2.3)."""
    found: dict[str, Any] = {}
    for name, value in reply:
        rows = value if isinstance(value, tuple) else ()
        for row in rows:
            found |= {f"{name}.{inside}": said for inside, said in row if said not in ("", None)}
        if not rows and value not in ("", None, ()):
            found[name] = value
    return found


def hidden_only(said: dict[str, Any], true: dict[str, Any]) -> bool:
    """Whether a reply says what the true one says, but for texts of a row that have other fields of the row in them.

    Such rows are those of lists, of which the signature covers the last one alone.
    """
    texts = [one for name, one in said.items() if "." in name and isinstance(one, str)]
    for name in said.keys() | true.keys():
        found, signed_under = said.get(name), name.replace(".", "")
        is_longer = isinstance(found, str) and found.startswith(f"{true.get(name)}&")
        is_inside = found is None and any(f"&{signed_under}=" in text for text in texts)
        if found != true.get(name) and not ("." in name and (is_longer or is_inside)):
            return False
    return True


@pytest.mark.parametrize("code", REQUESTS)
def test_a_tree_that_was_changed_under_its_signature_is_unknown_or_says_the_same(
    code: str, keys: Keys, certificate: BankCertificate
) -> None:
    dice = Random(code)
    equal = 0
    for _ in range(TRIES):
        body = whole_signed(code, dice, keys)
        for name in [name for name, field in REQUESTS[code].reply.model_fields.items() if not field.is_required()]:
            if dice.random() < 0.5:
                del body[name]
        body["RsaSign"] = sign(keys.bank, canonical_string(body))
        true = answered(code, as_json(body), certificate)
        assert true.outcome is AnswerOutcome.DONE
        forged = tampered(body, REQUESTS[code].reply, dice)
        answer = answered(code, as_json(forged), certificate)
        if answer.outcome is not AnswerOutcome.UNKNOWN:
            equal += 1
            assert (answer.outcome, answer.code, answer.front_seq_no) == (true.outcome, true.code, true.front_seq_no)
            assert hidden_only(covered(answer.reply), covered(true.reply)), forged
    assert 0 < equal < 60


@pytest.mark.parametrize("code", REQUESTS)
def test_an_answer_that_names_a_field_twice_is_believed_in_neither_reading(
    code: str, keys: Keys, certificate: BankCertificate
) -> None:
    dice = Random(code)
    for _ in range(20):
        body = whole_signed(code, dice, keys)
        objects = [body, *(row for rows in body.values() if isinstance(rows, list) for row in rows)]
        place = dice.choice(objects)
        key = dice.choice([name for name in place if name != "RsaSign"])
        first, other = place[key], dice.choice(("1.00", "ERR044", "", None, 5, {key: "x"}))
        for reading in (first, other):
            place[key] = reading
            signature = sign(keys.bank, canonical_string(body))
            place[key] = first
            for signatures in ({"RsaSign": signature}, {}):
                told = {name: value for name, value in body.items() if name != "RsaSign"} | signatures
                # The second one stands in the same object, under a name that is put right in the text.
                place_told = told if place is body else place
                place_told["@"] = other
                content = as_json(told).replace(b'"@"', json.dumps(key).encode())
                del place_told["@"]
                answer = answered(code, content, certificate)
                assert (answer.outcome, answer.evidence, answer.reply) == (AnswerOutcome.UNKNOWN, b"", None)
                assert "twice" in answer.detail


@pytest.mark.parametrize("name", DAYS)
async def test_a_bank_that_talks_nonsense_makes_the_mirror_post_nothing_wrong(database: str, name: str) -> None:
    day = DAYS[name]()
    async with open_marketplace(database, clock=day.clock, resolver={"ask_after_s": 0.3}, returns=NAMED_SOON) as shop:
        await day.before(shop)
        liar = Liar(shop.sandbox, seed=len(name), believed=day.believed)
        with nothing_unforeseen():
            for number in range(day.rounds):
                await day.play(shop, liar, number)
            await day.after(shop)
            assert await rested(database) == (0, 0)
        # How many questions fit into a day depends on the machine.
        assert liar.lies >= 5
        await shop.clear()
        await shop.assert_agrees()


async def test_opening_funds_are_taken_over_as_they_are_or_not_at_all(database: str) -> None:
    believed = frozenset({"AcctArray", "AcctAvailBal", "SubAcctProperty"})
    async with Sandbox(SandboxSettings(**LENIENT)) as sandbox, running(service_settings(database, sandbox)) as service:
        clearing, liar = service.components.clearing, Liar(sandbox, 1, believed)
        with nothing_unforeseen():
            assert await clearing.enter_opening_balance()
            true = await clearing.functional_accounts()
            assert true is not None
            read = 0
            with liar.lying():
                for _ in range(100):
                    rows = await clearing.functional_accounts()
                    if rows is not None:
                        read += 1
                        found = Counter({row.SubAcctProperty: row.AcctAvailBal for row in rows})
                        assert found == {row.SubAcctProperty: row.AcctAvailBal for row in true}
        assert 20 < read < 100
