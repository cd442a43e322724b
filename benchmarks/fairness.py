"""A slow host at the head of a list sorted by host, and what it does to the others."""

from __future__ import annotations

from benchmarks.site import folder
from benchmarks.table import Line
from tests.servers import Nginx
from tests.test_e2e import finish_of_others


def run(*, quick: bool, full: bool) -> list[Line]:
    """200 hosts of 50 URLs, with and without 1,000 URLs of one host before them; 5/s for each host."""
    with folder() as where:
        root = where / "www"
        root.mkdir()
        (root / "one.html").write_bytes(b"x" * 1024)
        extra = "location / { try_files /one.html =404; }"
        with Nginx(root, where / "nginx", address="0.0.0.0", extra=extra) as server:
            hosts = [f"127.0.{number // 100 + 1}.{number % 100 + 1}" for number in range(200)]
            others = [f"http://{host}:{server.port}/{page}" for host in hosts for page in range(50)]
            slow = [f"http://127.0.0.2:{server.port}/{page}" for page in range(1000)]
            alone = finish_of_others(where, "alone", others, server.port)
            beside = finish_of_others(where, "beside", slow + others, server.port)
    return [
        Line("10,000 URLs on 200 hosts beside a slow host", f"{beside / alone:.3f}x the time without it", "<= 1.05x")
    ]
