"""References become secrets: once, at the start of a job, and all that are absent are told together.

Does: read variables, files, keyrings, Vault, and the output of programs. Must not know what a secret is for. Invariant:
a reference is asked for once, however often it stands in the job; no sentence, log or repr holds a value, nor what a
program or server said, which may hold one; every value can stand in a header.
"""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from crawler.errors import JobError
from crawler.secretcommand import output_of
from crawler.secretrefs import Absent, parse_reference
from crawler.urls import printable
from crawler.vault import Vault

log = logging.getLogger("crawler")

LARGEST = 64 * 1024  # bytes
_BREAK = re.compile(r"[\r\n]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
# Orchestrators mount secrets 0444 here, into a machine that only the job lives in.
_MOUNTED = (Path("/run/secrets"), Path("/var/run/secrets"))


class Unresolved(JobError):
    """One reference has no value; `why` is a sentence. What is no reference is not shown, for it may be a secret."""

    def __init__(self, reference: str, why: str) -> None:
        super().__init__(f"{printable(reference)}: {why}" if _right(reference) else why)
        self.reference = reference
        self.why = why


class Resolver:
    """The secrets of one job. `base` is the folder of the job file: paths and programs are relative to it."""

    def __init__(self, base: Path, env: Mapping[str, str] = os.environ) -> None:
        self._base = base
        self._env = env
        self._vault = Vault(env)
        self._known: dict[str, str | Unresolved] = {}

    def __repr__(self) -> str:
        return f"<Resolver of {len(self._known)} references>"

    def resolve(self, reference: str) -> str:
        """The value; blocks as long as a program or server takes, 10 s at most. Raises Unresolved."""
        if reference not in self._known:
            try:
                self._known[reference] = _sendable(self._read(reference))
            except Absent as fault:
                self._known[reference] = Unresolved(reference, str(fault))
        value = self._known[reference]
        if isinstance(value, str):
            return value
        raise value.with_traceback(None)

    def resolve_all(self, named: Mapping[str, str]) -> dict[str, str]:
        """The value of each reference, by the key at which it stands. Raises JobError with all that have none."""
        values: dict[str, str] = {}
        problems: list[str] = []
        for where, reference in named.items():
            try:
                values[where] = self.resolve(reference)
            except Unresolved as fault:
                problems.append(f"{where}: {fault}")
        if problems:
            raise JobError(*problems)
        return values

    def _read(self, reference: str) -> str:
        try:
            scheme, rest = parse_reference(reference)
        except ValueError as fault:
            raise Absent(str(fault)) from None
        if scheme == "env":
            return _variable(self._env, rest)
        if scheme == "file":
            return _file(self._base / Path(rest).expanduser())
        if scheme == "keyring":
            return _keyring(*rest.rpartition("/")[::2])
        if scheme == "vault":
            path, _, field = rest.partition("#")
            return self._vault.read(path, field)
        return _text(output_of(rest, self._base, LARGEST))


def _right(reference: str) -> bool:
    try:
        parse_reference(reference)
    except ValueError:
        return False
    return True


def _sendable(value: str) -> str:
    """A value that can stand in a header (RFC 9110 5.5); a break within it would end the header there."""
    if not value:
        raise Absent("the value is empty")
    if _BREAK.search(value):
        raise Absent("the value has a line break inside, which no header can carry")
    if _CONTROL.search(value):
        raise Absent("the value has a control character inside, which no header can carry")
    if _SURROGATE.search(value):
        raise Absent("the value is not UTF-8")
    return value


def _variable(env: Mapping[str, str], name: str) -> str:
    value = env.get(name)
    if value is None:
        raise Absent("the environment has no such variable")
    if not value:
        raise Absent("the variable is set, but empty")
    return value


def _file(path: Path) -> str:
    try:
        # A pipe without a writer would wait for ever.
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Absent(_open_fault(path, error)) from None
    try:
        mode = os.fstat(number).st_mode
        if not stat.S_ISREG(mode):
            raise Absent("it is not a regular file")
        with open(number, "rb", closefd=False) as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise Absent(f"it cannot be read: {error.strerror}") from None
    finally:
        os.close(number)
    if is_open_to_others(path, mode):
        text = "%s holds a secret, but others than its owner may use it (mode %04o); chmod 600 would keep them out"
        log.warning(text, printable(str(path)), stat.S_IMODE(mode))
    return _text(data)


def _open_fault(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError) and path.is_symlink():
        return "it is a link that leads nowhere"
    return f"it cannot be opened: {error.strerror}"


def is_open_to_others(path: Path, mode: int) -> bool:
    """Has a file that holds a secret rights for group or world, where that is not the custom."""
    return bool(mode & 0o077) and not any(path.is_relative_to(folder) for folder in _MOUNTED)


def _text(data: bytes) -> str:
    """A file's or program's text, without the line end behind it."""
    if len(data) > LARGEST:
        raise Absent("it is larger than 64 KiB, which no secret is")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise Absent("it is not UTF-8") from None
    return text.removesuffix("\n").removesuffix("\r")


def _keyring(service: str, user: str) -> str:
    try:
        import keyring
        from keyring.errors import KeyringLocked, NoKeyringError
    except ImportError:
        raise Absent("keyring is not installed; pip install 'crawler[secrets]'") from None
    try:
        value = keyring.get_password(service, user)
    except NoKeyringError:
        raise Absent("this machine has no keyring that could be asked") from None
    except KeyringLocked:
        raise Absent("the keyring is locked") from None
    except Exception as error:  # each backend raises what its own library does
        raise Absent(f"the keyring cannot be read ({type(error).__name__})") from None
    if value is None:
        raise Absent("the keyring has no password of this service and user")
    return value
