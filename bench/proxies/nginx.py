"""Its stream module with one worker, no log of connections, buffers as they come (16 KB). Relays, and has no faults."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.faults_processes import find, first_line, free_port, missing, running, wait_for
from bench.proxies import At, Running

NAME = "nginx"
LATENCY = False
MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")  # Debian's; elsewhere it is often built in
PACKAGES = "nginx-light libnginx-mod-stream"
SETTINGS = """
daemon off;
worker_processes 1;
worker_rlimit_nofile 8192;
pid {folder}/nginx-{port}.pid;
error_log stderr error;
events {{ worker_connections 4096; }}
stream {{ server {{ listen 127.0.0.1:{port} backlog=1024; proxy_pass 127.0.0.1:{upstream}; }} }}
"""


def why_not() -> str:
    """The packages to install."""
    with_stream = MODULE.exists() or (find("nginx") and "--with-stream" in _built_with())
    return missing("nginx", PACKAGES) or ("" if with_stream else f"not installed: apt-get install {PACKAGES}")


def version() -> str:
    """From its banner."""
    return first_line(find("nginx"), "-v").rpartition("/")[2]


@contextmanager
def start(at: At) -> Iterator[Running]:
    """A master and a worker."""
    port, log = free_port(), at.folder / "nginx.log"
    settings = at.folder / f"nginx-{port}.conf"
    load = f"load_module {MODULE};" if MODULE.exists() else ""
    settings.write_text(load + SETTINGS.format(folder=at.folder, port=port, upstream=at.upstream))
    with running([find("nginx"), "-p", at.folder, "-e", "stderr", "-c", settings], log) as process:
        wait_for(port, process, log)
        yield Running(port, (process.pid,))


def _built_with() -> str:
    return first_line("sh", "-c", f"{find('nginx')} -V 2>&1 | tail -1")
