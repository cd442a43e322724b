"""`crawler monitor`: flags in, a server until Ctrl-C.

Does: settle where to listen and who may ask, say it, serve. Must not know what is served. Invariant: nothing but
loopback is bound without a token; a token that was made here is printed once, and one that was given never.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crawler.errors import JobError

if TYPE_CHECKING:
    from crawler.monitor import Wanted
    from crawler.monitoraccess import Keys

_ADDRESSES = 20  # that a name may have


@click.command()
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default=Path("output"),
    show_default=True,
    help="The folder of jobs: output.dir of their job files.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=8088, show_default=True, help="0: any that is free.")
@click.option("--control", is_flag=True, help="Let whoever has the token pause, resume, stop and slow running jobs.")
@click.option(
    "--token", metavar="REFERENCE", help="Where the token is: env:NAME, file:PATH and so on; then reading needs it too."
)
def monitor(output: Path, host: str, port: int, control: bool, token: str | None) -> None:
    """Show all jobs and runs in a browser, live.

    Reads what jobs leave in their output folder, whoever started them, and changes nothing.

    \b
      crawler monitor                    http://127.0.0.1:8088
      crawler monitor --control          prints a token with which jobs can be paused, stopped and slowed
    """
    import uvloop

    from crawler.logs import logging_to
    from crawler.monitor import Wanted

    addresses = _addresses(host)
    keys, made = keys_of(addresses, host, token, control=control)
    wanted = Wanted(output, keys, (host, *addresses))

    def show(text: str) -> None:
        click.echo(text, err=True)

    with logging_to(None, show, as_json=False, quiet=True), suppress(KeyboardInterrupt):
        uvloop.run(_serve(wanted, addresses[0], port, made))


def keys_of(addresses: list[str], host: str, token: str | None, *, control: bool) -> tuple[Keys, str | None]:
    """Who may ask, and the token where it was made here. Raises JobError."""
    import secrets

    from crawler.monitoraccess import LEAST, Keys, is_loopback
    from crawler.references import Resolver

    session = secrets.token_urlsafe(32)
    if token is not None:
        try:
            said = Resolver(Path.cwd()).resolve(token)
        except JobError as error:
            raise JobError(f"--token: {error}") from None
        if len(said) < LEAST:
            raise JobError(f"--token: the token has fewer than {LEAST} characters, which can be guessed")
        return Keys(said, session, reading=True, control=control), None
    if not is_loopback(addresses):
        raise JobError(
            f"--host {host}: others could read what was fetched; give --token env:NAME, which everybody must know then"
        )
    made = secrets.token_urlsafe(32) if control else None
    return Keys(made, session, reading=False, control=control), made


def _addresses(host: str) -> list[str]:
    """What a name leads to. Raises JobError."""
    import socket

    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise JobError(f"--host {host}: there is no such address: {error}") from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))[:_ADDRESSES]


async def _serve(wanted: Wanted, address: str, port: int, made: str | None) -> None:
    import asyncio
    import signal

    from crawler.monitor import served

    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with served(wanted, address, port) as bound:
        shown = f"[{address}]" if ":" in address else address
        click.echo(f"monitor of {wanted.output} on http://{shown}:{bound}/ (Ctrl-C ends it)", err=True)
        if made is not None:
            click.echo(f"token for control: {made}", err=True)
        await ended.wait()
