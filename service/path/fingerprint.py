"""What a request asks for, as a digest kept with its operation: by it a repeat is told from a reused request id.

Every field counts as a whole, in rows and at any depth, but for three: the request id and validate_only, which are no
content, and the verification, since a retry may bring a new code. Presence counts as the wire has it: an unset scalar
is its default, an unset message is not an empty one.

Whoever has the database alone must not be able to try card numbers against a digest. So a request with personal values
(debug_redact) has two digests in its fingerprint: an open one of everything else, and one of the whole under a key of
the vault, named beside it. A fingerprint lives as long as the journal and keys do not:

    32 bytes   the open digest; a request without personal values, or one from before whole fields counted, of whose
               personal values the last four characters are in the digest; a top-up of 0.1.0 has its channel's type as
               text in it
    70 bytes   the open digest, 6 bytes that name the key, the digest of the whole under that key

A repeat is compared under the key with which its operation was recorded, be it an old one. When that key is gone from
the settings, the open digest decides.
"""

from __future__ import annotations

import functools
import hashlib

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import BytesValue, StringValue

from jzb.v1 import topup_pb2
from service import problems
from service.vault import KEY_ID_BYTES, Vault

OPEN_BYTES = 32
NAMES_BEFORE = {
    "jzb.v1.AllocateSuspenseRequest": "jzb.v1.ClearSuspenseRequest",
    "jzb.v1.ReverseSuspenseAllocationRequest": "jzb.v1.UndoClearSuspenseRequest",
}
"""Under what name a request was digested before 0.2.0 renamed it, and still is: a repeat may come after the update."""

NOT_CONTENT = ("request_id", "validate_only", "verification")


class Fingerprint:
    """One request's. Holds the request, personal values and all: not to be kept longer than its call."""

    __slots__ = ("_content", "_has_personal", "_open", "_vault")

    def __init__(self, request: Message, vault: Vault) -> None:
        self._vault = vault
        self._content = type(request)()
        self._content.CopyFrom(request)
        for name in NOT_CONTENT:
            if name in request.DESCRIPTOR.fields_by_name:
                self._content.ClearField(name)
        whole, self._has_personal = self._content, False
        if _may_be_personal(request.DESCRIPTOR):
            whole = type(request)()
            whole.CopyFrom(self._content)
            self._has_personal = _clear_personal(whole)
        self._open = hashlib.sha256(_bytes(whole)).digest()

    @property
    def digest(self) -> bytes:
        """What is recorded. Raises `Problem` for personal values without a key to digest them under."""
        if not self._has_personal:
            return self._open
        if not self._vault.is_open:
            raise problems.key_missing("there is no key under which they could be recognised", "personal fields")
        return self._open + bytes.fromhex(self._vault.key_id) + self._under(self._vault.key_id)

    @property
    def shown(self) -> bytes:
        """What errors show of it."""
        return self.digest if self._vault.is_open else self._open

    def is_of(self, recorded: bytes) -> bool:
        """Whether the request asks for what was recorded."""
        if len(recorded) == OPEN_BYTES:
            if self._has_personal:
                return recorded == self._by_last_four()
            return recorded == self._open or recorded == self._by_channel_text()
        is_open_same = self._has_personal and recorded.startswith(self._open)
        key_id = recorded[OPEN_BYTES : OPEN_BYTES + KEY_ID_BYTES].hex()
        if not is_open_same or not self._vault.knows(key_id):
            return is_open_same
        return recorded[OPEN_BYTES + KEY_ID_BYTES :] == self._under(key_id)

    def _under(self, key_id: str) -> bytes:
        return self._vault.fingerprint(key_id, _bytes(self._content))

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


@functools.cache
def _may_be_personal(message: Descriptor) -> bool:
    return any(
        field.GetOptions().debug_redact or (field.message_type is not None and _may_be_personal(field.message_type))
        for field in message.fields
        if field.name not in NOT_CONTENT
    )


def _clear_personal(content: Message) -> bool:
    """Take the personal values out, in rows and at any depth; returns whether there were any."""
    found = False
    for field, value in content.ListFields():
        if field.GetOptions().debug_redact:
            content.ClearField(field.name)
            found = True
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            for one in value if field.is_repeated else (value,):
                found = _clear_personal(one) or found
    return found
