"""Makes the single file: ``python -m keeptrusts_runners.runner.build OUT``.

OUT is a zip archive that Python executes: one file, only the standard library inside. The same
sources give the same bytes. The harnesses are not in it; say ``--harness-dir``.
"""

import argparse
import zipfile
from pathlib import Path

_SHEBANG = b"#!/usr/bin/env python3\n"
_PACKAGE = "keeptrusts_runners/runner"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def build(target: Path) -> None:
    """Write the archive to `target` and make it executable."""
    here = Path(__file__).parent
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        file.write(_SHEBANG)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            _add(archive, "__main__.py", (here / "__main__.py").read_bytes())
            _add(archive, "keeptrusts_runners/__init__.py", b"")
            for source in sorted(here.glob("*.py")):
                if source.name not in ("__main__.py", Path(__file__).name):
                    _add(archive, f"{_PACKAGE}/{source.name}", source.read_bytes())
    target.chmod(0o755)


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, data)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the runner's single file.")
    parser.add_argument("out", type=Path, metavar="OUT", help="e.g. keeptrusts-runner.pyz")
    build(parser.parse_args().out)


if __name__ == "__main__":
    main()
