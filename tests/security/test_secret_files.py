"""Secrets come from files, so that the environment, which /proc and listings of containers show, has none."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.secret_files import FOLDERS, SecretFileWrong, secrets
from service.settings import (
    Settings,
    database_from_environment,
    from_environment,
    is_given,
    secrets_that_all_may_read,
    vault_from_environment,
)
from service.vault import new_key
from tests.security.processes import told_to
from tests.world.cli import jzb, jzb_run
from tests.world.marketplace import VAULT_KEY

BANK = {
    "BASE_URL": "https://bank.example",
    "APP_ID": "app",
    "MRCH_CODE": "9930",
    "FUND_SUMMARY_ACCT_NO": "15000000000000",
    "UID": "ABC123",
    "PFX_PATH": "merchant.pfx",
    "BANK_CERTIFICATE_PATH": "bank.pem",
}
SECRETS = {
    "DATABASE_URL": "postgresql://jzb:very-secret@db/jzb",
    "JZB_BANK__PFX_PASSWORD": " hush hush ",
    "JZB_BANK__FILE_PASSWORD": "lips sealed",
    "JZB_VAULT__KEYS": VAULT_KEY,
    "JZB_VAULT__RETIRED_KEYS": f"{new_key()}\n{new_key()}",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment with what is required, but for the secrets."""
    for name in [name for name in os.environ if name.startswith("JZB_") or name in (*FOLDERS, "DATABASE_URL")]:
        monkeypatch.delenv(name)
    for name, value in BANK.items():
        monkeypatch.setenv(f"JZB_BANK__{name}", value)
    return monkeypatch


def written(folder: Path, name: str, content: str | bytes, mode: int = 0o400) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


def read() -> dict[str, str]:
    """Every secret as the settings have it, a list with its values one a line."""
    settings = from_environment()
    password = settings.bank.file_password
    assert password is not None
    keys, retired = settings.vault.keys, settings.vault.retired_keys
    return {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "JZB_BANK__PFX_PASSWORD": settings.bank.pfx_password.get_secret_value(),
        "JZB_BANK__FILE_PASSWORD": password.get_secret_value(),
        "JZB_VAULT__KEYS": "\n".join(key.get_secret_value() for key in keys),
        "JZB_VAULT__RETIRED_KEYS": "\n".join(key.get_secret_value() for key in retired),
    }


def test_every_secret_has_a_file_named_beside_it(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, content in SECRETS.items():
        environment.setenv(f"{name}_FILE", str(written(tmp_path, name.lower(), f"{content}\n")))
    assert read() == SECRETS
    assert database_from_environment() == SECRETS["DATABASE_URL"]
    assert [key.get_secret_value() for key in vault_from_environment().keys] == [VAULT_KEY]


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_secret_has_a_file_in_the_folder_of_systemd_or_one_that_is_mounted(
    environment: pytest.MonkeyPatch, tmp_path: Path, folder: str
) -> None:
    environment.setenv(folder, str(tmp_path))
    for name, content in SECRETS.items():
        written(tmp_path, name, content)
    assert read() == SECRETS
    assert is_given("JZB_VAULT__KEYS")
    assert not is_given("JZB_BANK__NAME")


def test_every_secret_among_the_settings_is_one_that_may_be_in_a_file() -> None:
    found = dict(secrets(Settings))
    assert {*SECRETS, "JZB_DATABASE_URL"} <= set(found)
    assert {name for name, is_list in found.items() if is_list} == {name for name in found if name.endswith("KEYS")}


def test_a_list_may_be_json_as_in_the_environment(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    keys = [new_key(), new_key()]
    environment.setenv("JZB_VAULT__KEYS_FILE", str(written(tmp_path, "keys", json.dumps(keys))))
    assert [key.get_secret_value() for key in vault_from_environment().keys] == keys


def test_a_secret_that_is_said_twice_is_refused_naming_both_places(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv("JZB_SECRETS_DIR", str(tmp_path))
    written(tmp_path, "JZB_VAULT__KEYS", VAULT_KEY)
    environment.setenv("JZB_VAULT__KEYS", json.dumps([new_key()]))
    with pytest.raises(SecretFileWrong, match="JZB_VAULT__KEYS is said more than once, by JZB_VAULT__KEYS and JZB_SEC"):
        vault_from_environment()
    environment.delenv("JZB_VAULT__KEYS")
    environment.setenv("JZB_VAULT__KEYS_FILE", str(tmp_path / "JZB_VAULT__KEYS"))
    with pytest.raises(SecretFileWrong, match="by JZB_VAULT__KEYS_FILE and JZB_SECRETS_DIR"):
        vault_from_environment()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"", "is empty"), (b"\n", "is empty"), (b"hush\xff", "no text in UTF-8"), (b"hush" * 20_000, "larger than")],
)
def test_a_file_without_a_secret_is_refused_naming_the_variable_and_never_the_content(
    environment: pytest.MonkeyPatch, tmp_path: Path, content: bytes, complaint: str
) -> None:
    environment.setenv("JZB_BANK__PFX_PASSWORD_FILE", str(written(tmp_path, "password", content)))
    with pytest.raises(SecretFileWrong, match=f"^JZB_BANK__PFX_PASSWORD: .*{complaint}") as wrong:
        from_environment()
    assert "hush" not in str(wrong.value)


def test_a_file_that_is_not_there_is_refused_naming_the_variable(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        environment.setenv("JZB_BANK__PFX_PASSWORD_FILE", str(path))
        with pytest.raises(SecretFileWrong, match=f"^JZB_BANK__PFX_PASSWORD: {path} is no file"):
            from_environment()


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_that_is_not_there_and_a_file_that_nothing_reads_are_refused(
    environment: pytest.MonkeyPatch, tmp_path: Path, folder: str
) -> None:
    environment.setenv(folder, str(tmp_path / "nowhere"))
    with pytest.raises(SecretFileWrong, match=f"^{folder} is no folder"):
        vault_from_environment()
    environment.setenv(folder, str(tmp_path))
    written(tmp_path, "JZB_TLS_KEY", "which JZB_TLS_KEY=%d/JZB_TLS_KEY names")
    written(tmp_path, "JZB_VAULT_KEYS", VAULT_KEY)
    with pytest.raises(SecretFileWrong, match=f"^JZB_VAULT_KEYS in {folder} is no secret .*JZB_VAULT__KEYS") as wrong:
        from_environment()
    assert VAULT_KEY not in str(wrong.value)


def test_a_wrong_secret_in_a_file_is_not_told(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setenv("JZB_VAULT__KEYS_FILE", str(written(tmp_path, "keys", "hush-hush")))
    with pytest.raises(ValidationError, match="32 random bytes") as wrong:
        vault_from_environment()
    assert all(error["loc"] == ("vault", "keys") for error in wrong.value.errors())
    assert "hush" not in "".join(error["msg"] for error in wrong.value.errors())


@pytest.mark.soak
async def test_the_command_line_says_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    ended = await jzb("migrate", environment={"DATABASE_URL_FILE": str(tmp_path / "nowhere")})
    assert (ended.status, ended.error) == (1, f"jzb: DATABASE_URL: {tmp_path / 'nowhere'} is no file\n")


def test_a_file_that_every_user_may_read_is_named(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setenv("JZB_VAULT__KEYS_FILE", str(written(tmp_path, "keys", VAULT_KEY, 0o440)))
    environment.setenv("JZB_BANK__PFX_PATH", str(written(tmp_path, "merchant.pfx", "", 0o440)))
    environment.setenv("DATABASE_URL", SECRETS["DATABASE_URL"])
    environment.setenv("JZB_BANK__PFX_PASSWORD", SECRETS["JZB_BANK__PFX_PASSWORD"])
    settings = from_environment()
    assert secrets_that_all_may_read(settings) == []
    for name in ("keys", "merchant.pfx"):
        (tmp_path / name).chmod(0o444)
    assert secrets_that_all_may_read(settings) == [
        ("JZB_VAULT__KEYS", tmp_path / "keys"),
        ("JZB_BANK__PFX_PATH", tmp_path / "merchant.pfx"),
    ]


@pytest.mark.soak
async def test_a_service_whose_secrets_are_in_files_has_none_in_its_environment(database: str, tmp_path: Path) -> None:
    key = new_key()
    files = {
        "DATABASE_URL_FILE": str(written(tmp_path, "url", f"{database}\n")),
        "JZB_VAULT__KEYS_FILE": str(written(tmp_path, "keys", f"{key}\n", 0o444)),
    }
    async with jzb_run(tmp_path / "var", files) as started:
        told = told_to(started.process.pid)
        assert not [name for name, value in told.items() if database in value or key in value]
        assert not (tmp_path / "var" / "postgres").exists()
        assert not (tmp_path / "var" / "vault.keys").exists()
        said = "".join(started.said)
        assert "every user of this machine may read a secret" in said
        assert "JZB_VAULT__KEYS" in said
        assert "DATABASE_URL" not in said
        assert key not in said
