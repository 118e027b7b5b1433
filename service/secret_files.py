"""Secrets from files: what is not in the environment is in no /proc entry, and in no listing of a container.

A secret setting NAME (`JZB_VAULT__KEYS`, `DATABASE_URL`, whatever else has a SecretStr) is read from the file

    that NAME_FILE names;
    NAME in $CREDENTIALS_DIRECTORY, where systemd puts what LoadCredential= and LoadCredentialEncrypted= name;
    NAME in $JZB_SECRETS_DIR, a mounted folder.

Each secret is said once: two files, or a file beside the variable NAME itself, are refused. A list has JSON in its
file, or one value a line. Errors name the variable and the file, never the content.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_args, get_origin

from pydantic import AliasChoices, BaseModel, SecretStr
from pydantic_settings import BaseSettings, EnvSettingsSource

PREFIX: Final = "JZB_"
FOLDERS: Final = ("CREDENTIALS_DIRECTORY", "JZB_SECRETS_DIR")
BYTES_MAX: Final = 64 * 1024


class SecretFileWrong(Exception):
    """A secret that is said twice, or a file that has none."""


class EnvironmentAndFiles(EnvSettingsSource):
    """The environment, with the secrets of the settings that are in files as if they were in it."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        names = dict(secrets(self.settings_cls))
        files = paths(self.settings_cls)
        pointers = {f"{name}_FILE".lower() for name in names}
        said = {name: value for name, value in super()._load_env_vars().items() if name not in pointers}
        return said | {name.lower(): _content(name, path, is_list=names[name]) for name, path in files.items()}


def secrets(
    settings: type[BaseModel], prefix: str = PREFIX, kind: type[object] = SecretStr
) -> Iterator[tuple[str, bool]]:
    """The variables of the secrets among the settings of a class, at any depth, or of another ``kind`` of setting; each
    with whether it is a list.
    """
    for name, field in settings.model_fields.items():
        aliases = field.validation_alias.choices if isinstance(field.validation_alias, AliasChoices) else ()
        parts = list(_parts(field.annotation))
        if kind in parts:
            names = [str(alias) for alias in aliases if str(alias).isupper()] or [f"{prefix}{name.upper()}"]
            yield from ((one, any(get_origin(part) is tuple for part in parts)) for one in names)
        for group in parts:
            if isinstance(group, type) and issubclass(group, BaseModel):
                yield from secrets(group, f"{prefix}{name.upper()}__", kind)


def paths(settings: type[BaseSettings]) -> dict[str, Path]:
    """The files of the secrets of a class, by the variables that they stand for. Raises `SecretFileWrong`."""
    found: dict[str, Path] = {}
    for name, _ in secrets(settings):
        named = [(f"{name}_FILE", Path(os.environ[f"{name}_FILE"]))] if os.environ.get(f"{name}_FILE") else []
        given = named + [(place, folder / name) for place, folder in _folders() if (folder / name).exists()]
        said = [name] * bool(os.environ.get(name)) + [where for where, _ in given]
        if given and len(said) > 1:
            raise SecretFileWrong(f"{name} is said more than once, by {' and '.join(said)}: leave one")
        found.update((name, path) for _, path in given)
    return found


def require_known(settings: type[BaseSettings]) -> None:
    """Raise `SecretFileWrong` for a file of ours in one of the folders that is no secret of the class. It may have the
    name of a setting that holds a path, such as JZB_TLS_KEY: that setting then names it.
    """
    names, others = dict(secrets(settings)), dict(secrets(settings, kind=Path))
    for place, folder in _folders():
        if stray := sorted({path.name for path in folder.glob(f"{PREFIX}*")} - names.keys() - others.keys()):
            raise SecretFileWrong(f"{', '.join(stray)} in {place} is no secret setting; these are: {', '.join(names)}")


def _folders() -> list[tuple[str, Path]]:
    found = [(place, Path(os.environ[place])) for place in FOLDERS if os.environ.get(place)]
    for place, folder in found:
        if not folder.is_dir():
            raise SecretFileWrong(f"{place} is no folder: {folder}")
    return found


def readable_by_all(files: Mapping[str, Path]) -> list[tuple[str, Path]]:
    """Those of the files, with their variables, that every user of the machine may read."""
    return [(name, path) for name, path in files.items() if path.stat().st_mode & stat.S_IROTH]


def _content(name: str, path: Path, *, is_list: bool) -> str:
    try:
        if not path.is_file():
            raise SecretFileWrong(f"{name}: {path} is no file")
        content = path.read_bytes()[: BYTES_MAX + 1]
        text = content.decode("utf-8").rstrip("\r\n")
    except OSError as error:
        raise SecretFileWrong(f"{name}: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SecretFileWrong(f"{name}: {path} holds no text in UTF-8") from None
    if not text or len(content) > BYTES_MAX:
        raise SecretFileWrong(f"{name}: {path} is {'empty' if not text else f'larger than {BYTES_MAX} bytes'}")
    return json.dumps(text.split()) if is_list and not text.startswith("[") else text


def _parts(annotation: Any) -> Iterator[Any]:
    """An annotation and all that it is made of."""
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)
