"""The job that the flags of `crawler fetch` describe: the same Job as from a file.

Does: put flags where their keys are. Must not know defaults: a flag not given leaves the key to the model.
Invariant: the same inputs make the same job name, so that the same command resumes its own run and no other; a job
that is written down holds no credential but by reference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from crawler.errors import JobError
from crawler.job import Job
from crawler.jobfile import LoadedJob, build
from crawler.proxytext import parse_proxy
from crawler.secretrefs import FORMS, is_reference, parse_reference
from crawler.urls import BadURL, netloc, parse

_KEYS = {
    "column": "input.column",
    "method": "request.method",
    "data": "request.body",
    "contact": "request.contact",
    "workers": "limits.workers",
    "rate": "limits.rate",
    "per_host": "limits.per_host",
    "rate_per_host": "limits.rate_per_host",
    "bandwidth": "limits.bandwidth",
    "max_body": "limits.max_body",
    "timeout": "timeouts.total",
    "attempts": "retry.attempts",
    "proxy": "connection.proxy",
    "records": "output.records",
    "bodies": "output.bodies",
    "layout": "output.layout",
    "out": "output.dir",
}
_PATHS = {
    "upload": "request.body_file",
    "cacert": "connection.ca_bundle",
    "load_cookies": "cookies.load",
    "cookie_jar": "cookies.save",
}
_AUTH = "fetch"  # the section of the one credential that flags can name
_USERINFO = re.compile(r"[^/?#]*//[^/?#]*@")
_CREDENTIAL = re.compile(r"authorization\Z|cookie|token|secret|passw|key\Z|signature|session", re.IGNORECASE)


def job_from(flags: Mapping[str, Any]) -> LoadedJob:
    """Build and validate the job. Raises JobError."""
    data: dict[str, Any] = {}
    urls, files = list(flags["urls"]), [_absolute(file) for file in flags["files"]]
    if urls:
        _put(data, "input.urls", urls)
    if files:
        _put(data, "input.files", files)
    for flag, key in _KEYS.items():
        value = flags.get(flag)
        if value not in (None, ()):
            _put(data, key, list(value) if isinstance(value, tuple) else value)
    for flag, key in _PATHS.items():
        if flags.get(flag) is not None:
            _put(data, key, _absolute(flags[flag]))
    if flags["headers"]:
        _put(data, "request.headers", dict(_header(text) for text in flags["headers"]))
    _put_body(data, flags)
    _put_connection(data, flags)
    if section := _credential(flags, urls):
        data["auth"] = {_AUTH: section}
    data["name"] = (
        flags["name"] or "fetch-" + sha256("\n".join([*urls, *files]).encode(errors="replace")).hexdigest()[:8]
    )
    return build(data, Path.cwd(), flags["sets"])


def unsaved(job: Job) -> list[str]:
    """What of a job may not be written down, since it is or may be a credential; a sentence each."""
    by_reference = "use --bearer, --user with --password, or an [auth] section, which refer to it"
    headers = [*job.request.headers, *(name for said in job.hosts.values() for name in said.headers)]
    found = [
        f"--save-job: the header {name} would stand in the file as it is; {by_reference}"
        for name in headers
        if _CREDENTIAL.search(name)
    ]
    found += [
        f"--save-job: the field {name} would stand in the file as it is; leave it out here, and add it by hand"
        for name in _fields(job)
        if _CREDENTIAL.search(name)
    ]
    if any(_USERINFO.match(url) for url in job.input.urls):
        found.append(f"--save-job: a URL has credentials, which would stand in the file; {by_reference}")
    return found


def _fields(job: Job) -> list[str]:
    multipart = job.request.multipart or ()
    fields = [str(field.get("name")) for field in multipart] if isinstance(multipart, list) else [*multipart]
    return [*(job.request.form or ()), *fields, *job.request.cookies, *job.request.params]


def _absolute(file: str) -> str:
    """A saved job may be moved: its inputs must still be found."""
    return file if file == "-" or file.startswith("-.") else str(Path(file).absolute())


def _put(data: dict[str, Any], key: str, value: Any) -> None:
    section, name = key.split(".")
    data.setdefault(section, {})[name] = value


def _put_body(data: dict[str, Any], flags: Mapping[str, Any]) -> None:
    if flags.get("json") is not None:
        try:
            _put(data, "request.json", orjson.loads(flags["json"]))
        except orjson.JSONDecodeError as error:
            raise JobError(f"--json: is not JSON: {error}") from None
    if flags.get("form"):
        _put(data, "request.form", _repeated([_pair("--form", text) for text in flags["form"]]))
    if flags.get("multipart"):
        fields = [_pair("--multipart", text) for text in flags["multipart"]]
        _put(data, "request.multipart", [_field(name, text) for name, text in fields])
    if flags.get("upload") is not None and flags.get("method") is None:
        _put(data, "request.method", "PUT")


def _field(name: str, text: str) -> dict[str, str]:
    """As curl reads it: whoever types '@' on the command line means a file of theirs."""
    if text.startswith("@"):
        return {"name": name, "file": str(Path(text[1:]).absolute())}
    return {"name": name, "value": text}


def _put_connection(data: dict[str, Any], flags: Mapping[str, Any]) -> None:
    if (proxy := flags.get("proxy")) is not None and not is_reference(proxy):
        try:
            password = parse_proxy(proxy).password
        except ValueError as error:
            raise JobError(f"--proxy: {error}") from None
        if password is not None:
            raise JobError("--proxy: has a password, and others can see a command line; write --proxy env:NAME")
    cert, key = flags.get("cert"), flags.get("key")
    if key is not None and cert is None:
        raise JobError("--key: is of no use without --cert")
    if cert is not None:
        pair = {"cert": _absolute(cert)} | ({"key": _absolute(key)} if key is not None else {})
        _put(data, "connection.client_cert", pair)
    if flags.get("insecure"):
        _put(data, "connection.verify", False)
    if "cookies" in data:
        _put(data, "cookies.jar", True)


def _credential(flags: Mapping[str, Any], urls: Sequence[str]) -> dict[str, Any] | None:
    """The [auth] section, bound to the hosts of the URLs given unless flags say which."""
    user, password, bearer = (flags.get(name) for name in ("user", "password", "bearer"))
    hosts = list(flags.get("auth_hosts") or ())
    if user is None and (password is not None or flags.get("digest")):
        raise JobError(f"{'--digest' if password is None else '--password'}: is of no use without --user")
    if user is None and bearer is None:
        if hosts:
            raise JobError("--auth-host: is of no use without --user or --bearer")
        return None
    if user is not None and bearer is not None:
        raise JobError("--user and --bearer: one credential is enough")
    if user is not None and ":" in user:
        raise JobError("--user: takes the name alone, since others can see a command line; give --password env:NAME")
    if user is not None and password is None:
        raise JobError(f"--user: needs --password, by reference: {', '.join(FORMS.values())}")
    _check_reference("--bearer" if bearer is not None else "--password", bearer or password or "")
    hosts = hosts or _hosts(urls)
    if not hosts:
        raise JobError("--auth-host: say to which hosts the credential may go, for the command line names no URL")
    if bearer is not None:
        return {"type": "bearer", "token": bearer, "hosts": hosts}
    return {"type": "digest" if flags.get("digest") else "basic", "user": user, "password": password, "hosts": hosts}


def _check_reference(flag: str, text: str) -> None:
    """Raises JobError, which shows nothing of what may be the secret itself."""
    try:
        parse_reference(text)
    except ValueError as error:
        raise JobError(f"{flag}: {error}") from None


def _hosts(urls: Sequence[str]) -> list[str]:
    """The host, with its port where it names one, of each URL; what is none is told of later, in its record."""
    found: dict[str, None] = {}
    for url in urls:
        try:
            found[netloc(parse(url).href)] = None
        except BadURL:
            continue
    return list(found)


def _repeated(pairs: Sequence[tuple[str, str]]) -> dict[str, str | list[str]]:
    """Pairs by name; a name that comes again has a list."""
    found: dict[str, list[str]] = {}
    for name, text in pairs:
        found.setdefault(name, []).append(text)
    return {name: texts[0] if len(texts) == 1 else texts for name, texts in found.items()}


def _pair(flag: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise JobError(f"{flag}: write it like 'name=value'")
    return name, value


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise JobError("--header: write it like 'Accept: application/json'")
    return name.strip(), value.strip()
