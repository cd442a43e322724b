"""The command line: arguments in, exit codes out.

Does: parse flags, call the part that does the work, say what happened. Must not decide anything about fetching.
Invariant: stdout is for results that were asked for, stderr for progress and faults; every fault is a sentence, and
its exit code that of `errors.ExitCode`. Heavy modules are imported inside the commands: `--help` must be quick.
"""

from __future__ import annotations

import gc
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crawler import __version__
from crawler.controlcommand import pause, resume, set_, stop
from crawler.croncommand import cron
from crawler.diffcommand import diff
from crawler.errors import CrawlerError, ExitCode, JobError
from crawler.exportcommand import export
from crawler.interrupts import interruptible
from crawler.monitorcommand import monitor
from crawler.reportcommand import report

if TYPE_CHECKING:
    from crawler.jobfile import LoadedJob
    from crawler.picking import Picked
    from crawler.shell import Over

_SET = click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Override a key: --set limits.rate=5/s")
_LOG_FORMAT = click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Progress and log lines.",
)
_QUIET = click.option("--quiet", "-q", is_flag=True, help="Print nothing unless something is wrong.")


class _Commands(click.Group):
    """Commands in the order in which a newcomer needs them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="crawler")
def cli() -> None:
    """Fetch many URLs: politely, fast, and without ever losing the place.

    A job file says what to fetch, how, and where results go. A run that was killed goes on where it stood.

    \b
      crawler demo                  see it work, on a bundled site
      crawler init myjob            write a commented job file
      crawler plan myjob.toml       how long it must take, before it is run
      crawler run myjob.toml        run or resume it
    """


@cli.command()
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@click.option("--fresh", is_flag=True, help="Begin a new run even when the last one is unfinished.")
@click.option(
    "--if-running", type=click.Choice(["skip", "wait", "fail"]), help="Where another start of the job is at work."
)
@click.option("--max-time", metavar="TIME", help="Stop after so long, to go on with the next start: 50m")
@_SET
@_LOG_FORMAT
@_QUIET
def run(
    jobs: Sequence[str],
    fresh: bool,
    if_running: str | None,
    max_time: str | None,
    sets: Sequence[str],
    log_format: str,
    quiet: bool,
) -> None:
    """Run jobs, or resume those that are unfinished."""
    gc.disable()  # until the first is at work: what start-up makes lives for ever, and to look through it costs a tenth
    from crawler.jobfile import load

    if if_running is not None:
        sets = [*sets, f"run.if_running={if_running}"]
    if max_time is not None:
        sets = [*sets, f"run.max_time={max_time}"]
    codes = []
    for job, loaded in [(job, load(Path(job), sets)) for job in jobs]:
        source = shlex.join([str(Path(job).absolute()), *(word for text in sets for word in ("--set", text))])
        over = _run(loaded, fresh=fresh, log_format=log_format, quiet=quiet, source=source)
        codes.append(over.code)
        if over.interrupted:
            break
    # That one of several was at work already is said where nothing worse is to be said of the others.
    sys.exit(max(code for code in codes if code != ExitCode.BUSY or set(codes) <= {ExitCode.OK, ExitCode.BUSY}))


@cli.command()
@click.argument("urls", nargs=-1, metavar="[URL]...")
@click.option("-i", "--input", "files", multiple=True, metavar="FILE", help="A list or table of URLs; - is stdin.")
@click.option("-o", "--output", "out", metavar="DIR", help="Where results go.  [default: output]")
@click.option("--name", help="Name of the job: the same name resumes.  [default: made from the inputs]")
@click.option("-X", "--method", help="Request method.")
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A request header.")
@click.option("-d", "--data", help="Body of each request, as it is.")
@click.option("--json", metavar="JSON", help="A JSON body.")
@click.option("--form", multiple=True, metavar="NAME=VALUE", help="A field of a form, URL-encoded.")
@click.option("-F", "--multipart", multiple=True, metavar="NAME=VALUE|NAME=@FILE", help="A field of a multipart form.")
@click.option("-T", "--upload-file", "upload", metavar="FILE", help="Send a file, streamed; by PUT unless -X is given.")
@click.option("-u", "--user", help="User for Basic (or --digest) authentication; needs --password.")
@click.option(
    "--password", metavar="REFERENCE", help="Where the password is: env:NAME, file:PATH, keyring:, vault:, cmd:"
)
@click.option("--digest", is_flag=True, help="Digest instead of Basic.")
@click.option("--bearer", metavar="REFERENCE", help="Where a bearer token is: env:NAME and so on.")
@click.option(
    "--auth-host",
    "auth_hosts",
    multiple=True,
    metavar="PATTERN",
    help="Hosts the credential may go to.  [default: those of the URLs given]",
)
@click.option(
    "--proxy", metavar="URL", help="http://, https://, socks5:// or socks5h://; env:NAME if it has a password."
)
@click.option("--cacert", metavar="FILE", help="Certificate authorities, instead of the system's.")
@click.option("--cert", metavar="FILE", help="Client certificate, PEM.")
@click.option("--key", metavar="FILE", help="Its private key, where that is another file.")
@click.option(
    "-k", "--insecure", is_flag=True, help="Check no certificate: anybody on the way can read and change all."
)
@click.option("--load-cookies", metavar="FILE", help="Begin with these cookies (Netscape format or ours).")
@click.option("--cookie-jar", metavar="FILE", help="Keep cookies, and write them here at the end.")
@click.option("--contact", metavar="ADDRESS", help="Your e-mail address or page, told in the User-Agent.")
@click.option("--column", help="The column of a table that holds the URL.")
@click.option("--workers", type=int, help="Requests at once.")
@click.option("--rate", metavar="RATE", help="Requests of the whole job: 200/s")
@click.option("--per-host", type=int, help="Connections to one host at once.")
@click.option("--rate-per-host", metavar="RATE", help="Requests to one host: 5/s")
@click.option("--bandwidth", metavar="SIZE/s", help="Bytes of the whole job: 20MiB/s")
@click.option("--max-body", metavar="SIZE", help="Largest body: 1GiB")
@click.option("--timeout", metavar="TIME", help="Longest time for one request: 5m")
@click.option("--attempts", type=int, help="Attempts for each request.")
@click.option("--records", multiple=True, type=click.Choice(["jsonl", "csv", "parquet"]), help="Form of the records.")
@click.option(
    "--bodies", multiple=True, type=click.Choice(["files", "warc", "tar", "inline", "none"]), help="Form of the bodies."
)
@click.option("--layout", help="Names of body files: hash, mirror, or a template such as {host}/{stem}{ext}.")
@click.option("--save-job", metavar="FILE", help="Write the job down instead of running it.")
@_SET
@click.option("--fresh", is_flag=True, help="Begin anew even when the last run is unfinished.")
@_LOG_FORMAT
@_QUIET
def fetch(fresh: bool, log_format: str, quiet: bool, save_job: str | None, **flags: Any) -> None:
    """Fetch URLs without a job file: the flags build the job."""
    from crawler.flags import job_from, unsaved
    from crawler.jobtext import dumps

    loaded = job_from(flags)
    if save_job is not None:
        if problems := unsaved(loaded.job):
            raise JobError(*problems)
        target = Path(save_job)
        if target.exists():
            raise JobError(f"{target}: exists already; nothing was written")
        target.write_text(dumps(loaded.job), encoding="utf-8")
        click.echo(f"wrote {target}; run it with: crawler run {target}", err=True)
        return
    sys.exit(_run(loaded, fresh=fresh, log_format=log_format, quiet=quiet).code)


@cli.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def init(name: str, force: bool) -> None:
    """Write a commented job file, NAME.toml."""
    from crawler.jobtemplate import template

    target = Path(name if name.endswith(".toml") else f"{name}.toml")
    if target.exists() and not force:
        raise JobError(f"{target}: exists already; --force overwrites it")
    text = template(target.stem)
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise JobError(f"{target}: cannot be written: {error.strerror}") from error
    click.echo(f"wrote {target}; next: crawler check {target}", err=True)


@cli.command()
@click.argument("job", metavar="JOB")
@click.option("--for", "url", metavar="URL", help="Print what holds for this URL, and where each value is from.")
@_SET
def check(job: str, url: str | None, sets: Sequence[str]) -> None:
    """Validate a job file and its inputs; print the effective job."""
    from crawler.crawling import functions_of
    from crawler.jobfile import load
    from crawler.jobtext import dumps, effective
    from crawler.parts import keys_of, sources_of
    from crawler.sources import preflight
    from crawler.urls import BadURL, parse

    loaded = load(Path(job), sets, inputs=url is None)
    if url is not None:
        try:
            asked = parse(url, base=loaded.job.request.base_url)
            click.echo(effective(loaded.job, asked, keys_of(loaded.job).key_of(asked.host)), nl=False)
        except BadURL as error:
            raise JobError(f"--for: {error}") from None
        return
    preflight(sources_of(loaded))
    functions_of(loaded)
    click.echo(dumps(loaded.job), nl=False)


@cli.command()
@click.argument("job", metavar="JOB")
@click.option("--offline", is_flag=True, help="Ask no host for its robots.txt.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
@_SET
def plan(job: str, offline: bool, as_json: bool, sets: Sequence[str]) -> None:
    """Say how long a job must take, and which host sets that.

    Reads the lists, and asks for robots.txt where the job obeys it; fetches nothing else, and changes nothing.
    """
    import uvloop

    from crawler.jobfile import load
    from crawler.plan import render, to_json
    from crawler.preview import preview

    found = uvloop.run(preview(load(Path(job), sets), offline=offline))
    click.echo(to_json(found) if as_json else render(found))


@cli.command()
@click.argument("job", metavar="JOB")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
@_SET
def status(job: str, as_json: bool, sets: Sequence[str]) -> None:
    """Say where the running or last run stands."""
    from crawler.jobfile import load
    from crawler.status import status_of

    loaded = load(Path(job), sets, inputs=False)
    click.echo(status_of(loaded.job, as_json=as_json))


@cli.command()
@click.argument("job", metavar="JOB")
@click.option("--reason", "reasons", multiple=True, metavar="SLUG", help="Only these reasons: host-dead, 'connect-*'.")
@click.option("--host", "hosts", multiple=True, metavar="HOST", help="Only these hosts: a.example, '*.example.org'.")
@click.option("--status", "statuses", multiple=True, metavar="STATUS", help="Only these statuses: 503, 5xx, 500-599.")
@click.option("--older", metavar="TIME", help="Only what failed so long ago or longer: 1h")
@_SET
@_LOG_FORMAT
@_QUIET
def retry(
    job: str, sets: Sequence[str], log_format: str, quiet: bool, older: str | None, **wanted: tuple[str, ...]
) -> None:
    """Fetch again what failed in the last run, as part of it.

    The results join that run; what succeeded is left alone. Without options all that failed. Several options of one
    kind widen the choice, those of other kinds narrow it.

    \b
      crawler retry myjob.toml --reason host-dead --reason 'connect-*'
    """
    from crawler.jobfile import load
    from crawler.picking import Picked
    from crawler.units import parse_duration

    try:
        picked = Picked(older=parse_duration(older) if older is not None else None, **wanted)
    except ValueError as error:
        raise JobError(str(error)) from None
    sys.exit(_run(load(Path(job), sets, inputs=False), again=picked, log_format=log_format, quiet=quiet).code)


@cli.command()
@click.option("--serve", is_flag=True, help="Only serve the demo site, until Ctrl-C.")
@click.option("--port", type=int, default=8089, show_default=True, help="Port of the demo site on 127.0.0.1.")
@_LOG_FORMAT
@_QUIET
def demo(serve: bool, port: int, log_format: str, quiet: bool) -> None:
    """Run the quickstart job against a bundled site."""
    from crawler.demo import serve_forever, serve_in_thread
    from crawler.jobfile import load

    if serve:
        serve_forever(port)
        return
    with serve_in_thread(port) as site:
        if not quiet:
            click.echo(f"demo site on {site.url}", err=True)
        loaded = load(quickstart(), [f"request.base_url={site.url}"])
        sys.exit(_run(loaded, fresh=True, log_format=log_format, quiet=quiet).code)


def quickstart() -> Path:
    """The quickstart job: of the checkout one stands in, else the copy in the package."""
    local = Path("jobs/quickstart.toml")
    return local if local.is_file() else Path(__file__).parent / "demo_jobs" / "quickstart.toml"


@cli.command()
def schema() -> None:
    """Print the JSON Schema of job files, for editors."""
    import orjson

    from crawler.jobfile import schema as job_schema

    click.echo(orjson.dumps(job_schema(), option=orjson.OPT_INDENT_2))


@cli.command()
@click.argument("job", metavar="JOB")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
@_SET
def verify(job: str, as_json: bool, sets: Sequence[str]) -> None:
    """Read the last run again: all is there as committed.

    Every record, body and archive; the exit code is 1 where something is wrong.
    """
    from crawler.jobfile import load
    from crawler.verify import Verifier, told

    verifier = Verifier(load(Path(job), sets, inputs=False).job)
    for line in told(verifier, as_json=as_json):
        click.echo(line)
    sys.exit(ExitCode.FAILED if verifier.found else ExitCode.OK)


cli.add_command(export)
cli.add_command(report)
cli.add_command(diff)
cli.add_command(monitor)
cli.add_command(cron)
for command in (pause, resume, stop, set_):
    cli.add_command(command)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a shell's completion script.

    eval "$(crawler completion bash)"
    """
    from click.shell_completion import get_completion_class

    completer = get_completion_class(shell)
    assert completer is not None
    click.echo(completer(cli, {}, "crawler", "_CRAWLER_COMPLETE").source())


def _run(
    loaded: LoadedJob,
    *,
    log_format: str,
    quiet: bool,
    fresh: bool = False,
    again: Picked | None = None,
    source: str | None = None,
) -> Over:
    from crawler.opening import Options
    from crawler.shell import run_shown

    return run_shown(loaded, Options(fresh=fresh, again=again), log_format=log_format, quiet=quiet, source=source)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: every CrawlerError becomes its sentence on stderr and its exit code."""
    with interruptible():
        _guarded(lambda: cli.main(args=arguments, prog_name="crawler", standalone_mode=False))


def _guarded(command: Callable[[], object]) -> None:
    try:
        command()
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(ExitCode.USAGE)
    except (click.Abort, KeyboardInterrupt):
        # Where it was raised within an exec() of a text (namedtuple has one) Python would end by SIGINT all the same,
        # unless another one, that ends well, comes behind it.
        exec("")
        sys.exit(ExitCode.STOPPED)
    except JobError as error:
        for problem in error.problems:
            _complain(f"crawler: {_masked(problem)}")
        sys.exit(error.code)
    except CrawlerError as error:
        _complain(f"crawler: {_masked(str(error))}")
        sys.exit(error.code)
    except BrokenPipeError:
        # Whoever read our stdout has seen enough (head, less).
        sys.stderr.close()
        sys.exit(ExitCode.OK)
    except Exception:
        from traceback import format_exc

        from crawler.interrupts import interrupted

        if interrupted():  # whatever it hit, an event loop that was just made, say, fails in its own way
            sys.exit(ExitCode.STOPPED)
        _complain(_masked(format_exc()))
        sys.exit(ExitCode.BUG)
    finally:
        gc.enable()


def _complain(text: str) -> None:
    """On stderr, which may itself stand on the disk that is full: the exit code counts all the same."""
    with suppress(OSError):
        click.echo(text, err=True)


def _masked(text: str) -> str:
    """What is told of a fault, without the job's secrets."""
    from crawler.logs import masked

    return masked(text)
