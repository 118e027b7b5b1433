"""The text that both sides sign (transport.md 2.3).

Promises the byte-for-byte result of the bank's own flattening, for any JSON object: requests and
answers. Pure; it must never add, trim or escape a value.

What the signature does not cover follows from the rule and cannot be mended here: numbers, booleans
and nulls are skipped, and of an array's rows only the last value of each sub-key is kept. For those
TLS is the only protection, so amounts in answers of several rows are hints to compare, not proof.

Nor can "k=v&k=v&" be read in one way only, as nothing is escaped: see `folded_fields`.
"""

import re
from collections.abc import Iterator, Mapping, Set
from types import MappingProxyType
from typing import Final

from bankclient.errors import MessageInvalid

UNSIGNED_FIELDS: Final = frozenset({"RsaSign", "errorCode", "errorMsg"})

# The interfaces nest one level; the bound keeps a hostile answer from exhausting the stack.
DEPTH_MAX: Final = 32


ONE_FIELD: Final = r"^[^&]*(&[^=]*)?$"
"""The form of a text that holds no second field: no = comes behind an &."""

_FIELD_INSIDE: Final = re.compile(r"&([^&=]*)=")

Path = tuple[str, ...]


def canonical_string(body: Mapping[str, object]) -> bytes:
    """Flatten a request or an answer into the UTF-8 text that MD5withRSA signs."""
    flat = {key: value for key, (_, value) in _signed(body).items()}
    text = "".join(f"{key}={flat[key]}&" for key in sorted(flat, key=_utf16_units))
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise MessageInvalid("a text holds half of a UTF-16 pair") from None


def shadowed_fields(body: Mapping[str, object], paths: Mapping[str, Path] = MappingProxyType({})) -> set[str]:
    """Name what stands in a place of the body where it is signed like something else.

    Flattening forgets where a value stood: {"Txn": {"ReturnCode": "x"}} signs like TxnReturnCode.
    With both present the signature covers only one of them, so whoever reads the other is deceived;
    and what was moved away is missed by whoever reads it. `paths` are those that are read, by the
    name they are signed under.
    """
    seen = dict(paths)
    leaves = _leaves(_to_be_signed(body), "", (), 1)
    return {key for key, path, _ in leaves if seen.setdefault(key, path) != path}


def folded_fields(body: Mapping[str, object], names: Set[str], *, in_rows: bool = True) -> set[str]:
    """Name what the signature would also cover if it were cut into other fields.

    {"A": "1&B=2"} and {"A=1&B": "2"} sign like {"A": "1", "B": "2"}. So somebody without a key can hide a field in the
    text before it or in the name behind it, and, where a true text holds one, bring it forth. `names` are the fields
    that are read. Without `in_rows` the texts of rows are let pass.
    """
    return {
        key
        for key, (path, value) in _signed(body).items()
        if "=" in key
        or "&" in key
        or ("&" in value and (in_rows or len(path) == 1) and not names.isdisjoint(_FIELD_INSIDE.findall(value)))
    }


def _signed(body: Mapping[str, object]) -> dict[str, tuple[Path, str]]:
    """What is signed, by the key it is signed under, with where it stands."""
    leaves = _leaves(_to_be_signed(body), "", (), 1)
    flat = {key: (path, value) for key, path, value in leaves if isinstance(value, str)}
    return {key: found for key, found in flat.items() if found[1] not in ("", "null")}


def _to_be_signed(body: Mapping[str, object]) -> dict[str, object]:
    return {k: v for k, v in body.items() if k not in UNSIGNED_FIELDS}


def _leaves(body: Mapping[str, object], prefix: str, path: Path, depth: int) -> Iterator[tuple[str, Path, object]]:
    """All that is neither object nor array, with the key it is signed under and the fields that lead to it."""
    if depth > DEPTH_MAX:
        raise MessageInvalid(f"objects are nested deeper than {DEPTH_MAX}")
    for key, value in body.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, prefix + key, (*path, key), depth + 1)
        elif isinstance(value, list | tuple):
            for element in value:
                if isinstance(element, str):
                    # The array's own key is left out: the element names itself.
                    yield prefix + element, (*path, key, element), element
                elif isinstance(element, Mapping):
                    yield from _leaves(element, prefix + key, (*path, key), depth + 1)
                else:
                    raise MessageInvalid("an array may hold only texts and objects")
        else:
            yield prefix + key, (*path, key), value


def _utf16_units(key: str) -> bytes:
    # Java compares UTF-16 code units: a character beyond U+FFFF sorts before U+E000.
    return key.encode("utf-16-be", "surrogatepass")
