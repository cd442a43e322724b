"""Real servers for tests and benchmarks: nginx on loopback."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

_CONF = """\
daemon off;
user root;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    charset utf-8;
    log_format seen '$msec\\t$status\\t$request_uri\\t$server_addr\\t$http_x_request_id\\t$connection';
    access_log {log};
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    sendfile on;
    keepalive_requests 10000000;
    server {{
        listen {address}:{port} backlog=4096;
        allow 127.0.0.0/8;
        deny all;
        root {root};
        {extra}
    }}
}}
"""


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Nginx:
    """nginx serving `root`; `log` keeps an access log. `address` 0.0.0.0 answers all of 127/8, and nobody else."""

    def __init__(
        self, root: Path, folder: Path, *, address: str = "127.0.0.1", log: bool = False, extra: str = ""
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "access.log"
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        where = f"{self.log} seen" if log else "off"
        text = _CONF.format(folder=folder, root=root, address=address, port=self.port, log=where, extra=extra)
        self._conf = folder / "nginx.conf"
        self._conf.write_text(text)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Nginx:
        program = shutil.which("nginx") or "/usr/sbin/nginx"
        self._process = subprocess.Popen([program, "-c", str(self._conf), "-p", str(self._folder)])
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            if self._process.poll() is not None:
                break
        raise RuntimeError(f"nginx did not start: {(self._folder / 'error.log').read_text()}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(10)

    def requests(self) -> list[list[str]]:
        """The access log: msec, status, URI, server address, X-Request-ID, connection."""
        return [line.split("\t") for line in self.log.read_text().splitlines()]
