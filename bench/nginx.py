"""nginx as a peer: one worker of it on the loopback that gives out one directory.

Its configuration and all that it writes are in a temporary directory, and it ends with the block.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

STOP_SECONDS = 10
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
# Started by root its worker would be another account, which may not read the store's files; for
# everybody else `user` means nothing.
_CONFIGURATION = """
daemon off;
user root;
worker_processes 1;
pid "{place}/pid";
events {{}}
http {{
  {temporary}
  access_log off;
  sendfile on;
  tcp_nopush on;
  server {{ listen 127.0.0.1:{port}; root "{root}"; }}
}}
"""


@contextmanager
def serving(root: Path) -> Iterator[str | None]:
    """The host and port at which the directory's files are; None where there is no nginx."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if program is None:
        yield None
        return
    with TemporaryDirectory(prefix="keeptrusts-nginx-") as place:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            # Inherited, as it hands its sockets to its own successor: it listens before it runs.
            listening.setblocking(False)
            port = listening.getsockname()[1]
            process = _start(program, Path(place), root, listening.fileno(), port)
        try:
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)


def _start(
    program: str, place: Path, root: Path, listening: int, port: int
) -> subprocess.Popen[bytes]:
    temporary = " ".join(f'{name}_temp_path "{place}/{name}";' for name in _TEMPORARY)
    configuration = place / "nginx.conf"
    configuration.write_text(
        _CONFIGURATION.format(place=place, temporary=temporary, port=port, root=root)
    )
    return subprocess.Popen(
        [program, "-e", "stderr", "-p", str(place), "-c", str(configuration)],
        env=os.environ | {"NGINX": f"{listening};"},
        pass_fds=[listening],
        stdin=subprocess.DEVNULL,
        # It says that it took the socket over, as a notice.
        stderr=subprocess.DEVNULL,
    )
