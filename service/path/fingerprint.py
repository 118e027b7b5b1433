"""What a request asks for, as a digest kept with its operation: by it a repeat is told from a reused request id.

Every field counts as a whole, in rows and at any depth, labels in whatever order, but for four: the request id and
validate_only, which are no content, the verification, since a retry may bring a new code, and the approval, which says
how it is to be decided.
Presence counts as the wire has it: an unset scalar is its default, an unset message is not an empty one.

Whoever has the database, or another's request id, must not be able to try values against a digest: a mobile in a
remark is ten thousand tries. So the digest is under a key of the vault, which is named beside it, and nobody is shown
it. The journal is sealed and keeps what was recorded for ever, so each of these forms is still recognised:

    38 bytes   6 bytes that name the key, the digest of the whole under that key
    32 bytes   a digest without a key: of a platform that has none, or of a request without personal values
               (debug_redact) until 0.2.0; from before whole fields counted, of the personal values the last four
               characters are in it; a top-up of 0.1.0 has its channel's type as text in it
    70 bytes   until 0.2.0: a digest without a key of all but the personal values, then the 38 bytes above

A repeat is compared under the key with which its operation was recorded, be it an old one. When that key is gone from
the settings, the digest without a key decides, where there is one; else nothing can, and the repeat is refused.
"""

from __future__ import annotations

import hashlib

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import BytesValue, StringValue

from jzb.v1 import topup_pb2
from service import problems
from service.vault import KEY_ID_BYTES, Vault, VaultKeyMissing

OPEN_BYTES = 32
KEYED_BYTES = KEY_ID_BYTES + OPEN_BYTES
NAMES_BEFORE = {
    "jzb.v1.AllocateSuspenseRequest": "jzb.v1.ClearSuspenseRequest",
    "jzb.v1.ReverseSuspenseAllocationRequest": "jzb.v1.UndoClearSuspenseRequest",
}
"""Under what name a request was digested before 0.2.0 renamed it, and still is: a repeat may come after the update."""

NOT_CONTENT = ("request_id", "validate_only", "verification", "approval")


class Fingerprint:
    """One request's. Holds the request, personal values and all: not to be kept longer than its call."""

    __slots__ = ("_content", "_vault")

    def __init__(self, request: Message, vault: Vault) -> None:
        self._vault = vault
        self._content = type(request)()
        self._content.CopyFrom(request)
        for name in NOT_CONTENT:
            if name in request.DESCRIPTOR.fields_by_name:
                self._content.ClearField(name)
        order_labels(self._content)

    @property
    def digest(self) -> bytes:
        """What is recorded. Raises `Problem` for personal values without a key to digest them under."""
        if self._vault.is_open:
            key_id = self._vault.key_id
            return bytes.fromhex(key_id) + self._under(key_id)
        without, has_personal = self._without_personal()
        if has_personal:
            raise problems.key_missing("there is no key under which they could be recognised", "personal fields")
        return without

    def is_of(self, recorded: bytes) -> bool:
        """Whether the request asks for what was recorded. Raises `VaultKeyMissing` where that cannot be known."""
        if len(recorded) == OPEN_BYTES:
            without, has_personal = self._without_personal()
            if has_personal:
                return recorded == self._by_last_four()
            return recorded == without or recorded == self._by_channel_text()
        key_id, keyed = recorded[-KEYED_BYTES:-OPEN_BYTES].hex(), recorded[-OPEN_BYTES:]
        try:
            return keyed == self._under(key_id)
        except VaultKeyMissing:
            if len(recorded) == KEYED_BYTES:
                raise
        without, has_personal = self._without_personal()
        return has_personal and recorded.startswith(without)

    def _under(self, key_id: str) -> bytes:
        return self._vault.fingerprint(key_id, _bytes(self._content))

    def _without_personal(self) -> tuple[bytes, bool]:
        """A digest without a key of all but the personal values, and whether there are any."""
        rest = type(self._content)()
        rest.CopyFrom(self._content)
        has_personal = clear_personal(rest)
        return hashlib.sha256(_bytes(rest)).digest(), has_personal

    def _by_channel_text(self) -> bytes | None:
        """The digest that 0.1.0 recorded of a top-up."""
        if not isinstance(self._content, topup_pb2.TopUpRequest | topup_pb2.SplitTopUpRequest):
            return None
        return hashlib.sha256(_bytes_with_channel_text(self._content, self._content.channel)).digest()

    def _by_last_four(self) -> bytes:
        content = type(self._content)()
        content.CopyFrom(self._content)
        for field in content.DESCRIPTOR.fields:
            if field.GetOptions().debug_redact:
                setattr(content, field.name, str(getattr(content, field.name))[-4:])
        return hashlib.sha256(_bytes(content)).digest()


def _bytes(content: Message) -> bytes:
    name = content.DESCRIPTOR.full_name
    return NAMES_BEFORE.get(name, name).encode() + _wire(content)


def _bytes_with_channel_text(top_up: Message, channel: topup_pb2.Channel) -> bytes:
    """As `_bytes` when the first field of a Channel, its type, was a text of four digits.

    The parts are joined as they lie on the wire, in the order of the fields' numbers.
    """
    number = top_up.DESCRIPTOR.fields_by_name["channel"].number
    before, after, rest = type(top_up)(), type(top_up)(), type(channel)()
    before.CopyFrom(top_up)
    after.CopyFrom(top_up)
    rest.CopyFrom(channel)
    for field, _ in top_up.ListFields():
        if field.number >= number:
            before.ClearField(field.name)
        if field.number <= number:
            after.ClearField(field.name)
    rest.ClearField("type")
    content = StringValue(value=f"{channel.type:04d}").SerializeToString() + _wire(rest)
    length_and_channel = BytesValue(value=content).SerializeToString()[1:]
    return _bytes(before) + bytes([number << 3 | 2]) + length_and_channel + _wire(after)


def _wire(content: Message) -> bytes:
    return content.SerializeToString(deterministic=True)


def order_labels(content: Message) -> None:
    """Put the labels of a request in order: they are a map, and some languages give theirs in an order of chance."""
    if "tags" in content.DESCRIPTOR.fields_by_name and content.HasField("tags"):
        content.tags.labels.sort(key=lambda label: label.key)  # type: ignore[attr-defined]  # by its descriptor


def clear_personal(content: Message) -> bool:
    """Take the personal values out, in rows and at any depth; returns whether there were any."""
    found = False
    for field, value in content.ListFields():
        if field.GetOptions().debug_redact:
            content.ClearField(field.name)
            found = True
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            for one in value if field.is_repeated else (value,):
                found = clear_personal(one) or found
    return found
