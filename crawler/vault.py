"""Secrets in HashiCorp Vault or OpenBao: the KV engine, version 2.

Does: log in once with what the environment gives, read each path once. Must not know what a secret is for. Invariant:
foreign errors end here, and no text of theirs is passed on, since it may hold a token; a token goes to VAULT_ADDR
alone, so redirects, proxies and netrc of the environment are not followed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crawler.secretrefs import Absent
from crawler.urls import printable

LIMIT = 10.0  # seconds for a connection, and for each part of an answer

# By the names of hvac's and requests' exceptions, whose texts may hold what was sent.
_REFUSALS = {
    "InvalidRequest": "Vault does not understand the question (400)",
    "Forbidden": "Vault forbids it (403): the token is none, has ended, or has no right to this path",
    "InvalidPath": "Vault has nothing there (404): the path is wrong, its newest version deleted, or the engine not KV "
    "of version 2",
    "RateLimitExceeded": "Vault is asked too often (429)",
    "VaultDown": "Vault is sealed or in maintenance (503)",
}
_FAULTS = {
    "SSLError": "its certificate is not trusted; VAULT_CACERT may name a bundle of CAs",
    "ConnectTimeout": "no answer within {limit:g} s",
    "ReadTimeout": "no answer within {limit:g} s",
    "ConnectionError": "it cannot be reached",
}


class Vault:
    """Reads of `env`: VAULT_ADDR; VAULT_TOKEN, or VAULT_ROLE_ID and VAULT_SECRET_ID (AppRole); VAULT_NAMESPACE,
    VAULT_CACERT, VAULT_CAPATH. `limit` in seconds.
    """

    def __init__(self, env: Mapping[str, str], limit: float = LIMIT) -> None:
        self._env = env
        self._limit = limit
        self._client: Any = None
        self._trouble: Absent | None = None
        self._paths: dict[str, Mapping[str, Any] | Absent] = {}

    def __repr__(self) -> str:
        return f"<Vault {printable(self._env.get('VAULT_ADDR', ''))} paths={len(self._paths)}>"

    def read(self, path: str, field: str) -> str:
        """The text of a field; the first part of `path` is the engine's mount. Raises Absent."""
        if path not in self._paths:
            try:
                if self._trouble is not None:  # what does not answer costs its ten seconds once
                    raise self._trouble.with_traceback(None)
                self._paths[path] = self._secret(path)
            except Absent as fault:
                self._paths[path] = fault
        found = self._paths[path]
        if isinstance(found, Absent):
            raise found.with_traceback(None)
        if field not in found:
            raise Absent("Vault has the path, but no such field in it")
        value = found[field]
        if not isinstance(value, str):
            raise Absent("the field is not text")
        return value

    def _secret(self, path: str) -> Mapping[str, Any]:
        mount, _, rest = path.partition("/")
        try:
            self._client = self._client or self._logged_in()
        except Absent as fault:
            self._trouble = fault
            raise
        answer = self._asked(
            self._client.secrets.kv.v2.read_secret_version,
            path=rest,
            mount_point=mount,
            raise_on_deleted_version=True,
        )
        try:
            found = answer["data"]["data"]
        except (KeyError, TypeError):
            found = None
        if not isinstance(found, dict):
            raise Absent("what answers at VAULT_ADDR is no KV engine of version 2")
        return found

    def _logged_in(self) -> Any:
        """A client with a token."""
        try:
            import hvac  # type: ignore[import-untyped]
        except ImportError:
            raise Absent("hvac is not installed; pip install 'crawler[secrets]'") from None
        env = self._env
        address, token = env.get("VAULT_ADDR"), env.get("VAULT_TOKEN")
        role, secret = env.get("VAULT_ROLE_ID"), env.get("VAULT_SECRET_ID")
        if not address:
            raise Absent("VAULT_ADDR is not set")
        if not token and not (role and secret):
            raise Absent("neither VAULT_TOKEN nor both VAULT_ROLE_ID and VAULT_SECRET_ID are set")
        client = hvac.Client(
            url=address,
            token=token or "",  # None would look for a file
            namespace=env.get("VAULT_NAMESPACE") or None,
            verify=env.get("VAULT_CACERT") or env.get("VAULT_CAPATH") or True,
            timeout=self._limit,
            allow_redirects=False,
        )
        client.session.trust_env = False
        if not token:
            try:
                self._asked(client.auth.approle.login, role_id=role, secret_id=secret)
            except Absent as fault:
                raise Absent(f"no login by VAULT_ROLE_ID and VAULT_SECRET_ID: {fault}") from None
            if not client.token:
                raise Absent("Vault gave no token for VAULT_ROLE_ID and VAULT_SECRET_ID")
        return client

    def _asked(self, call: Any, **arguments: Any) -> Any:
        """The answer. Raises Absent; a fault of the connection is one for all paths."""
        try:
            return call(**arguments)
        except Exception as error:  # beside those of hvac and requests some of http.client, for odd variables
            name = type(error).__name__
        if name in _REFUSALS:
            raise Absent(_REFUSALS[name])
        why = _FAULTS.get(name, f"it cannot be asked ({name})").format(limit=self._limit)
        self._trouble = Absent(f"Vault at {printable(self._env.get('VAULT_ADDR', ''))}: {why}")
        raise self._trouble
