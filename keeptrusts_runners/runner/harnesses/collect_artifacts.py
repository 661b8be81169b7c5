#!/usr/bin/env python3
"""Collects the files below a directory into a bundle with a manifest.

Input: ``{"job": "collect-artifacts", "root": DIR, "checkpoint_every": 50, "pause_ms": 0}``.

The bundle is a series of parts, ``bundle-0001.tar.gz`` and on. A part is closed and stored as an
artifact before the checkpoint that names it is recorded, so a checkpoint never promises bytes
that are not there; an attempt that dies loses the open part alone; and a checkpoint stays small,
since it names parts and not files. One archive to append to would have to be read back whole, or
packed again, by each further attempt. The next attempt fetches the parts the checkpoint names,
verifies them, takes their lists of files, and goes on after the last file. At the end
``manifest.json`` names every part and every file with size and SHA-256.
"""

import bisect
import gzip
import hashlib
import io
import json
import os
import stat
import tarfile
from pathlib import Path
from typing import Any

import keeptrusts_harness
from keeptrusts_harness import Failure, Session, Stopped

SKIPPED_DIRECTORIES = frozenset(
    {".git", ".venv", ".local", "__pycache__", "node_modules", "build", "dist", "staticfiles"}
    | {".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".import_linter_cache"}
)
GRANT_SECONDS = 3600


class Part:
    """An open part: a tar archive whose bytes follow from the files alone."""

    def __init__(self, number: int) -> None:
        self.path = Path(f"bundle-{number:04}.tar.gz")
        self.files: list[dict[str, Any]] = []
        self._raw = self.path.open("wb")
        self._packed = gzip.GzipFile("", "wb", fileobj=self._raw, mtime=0)
        self._archive = tarfile.TarFile(fileobj=self._packed, mode="w", format=tarfile.PAX_FORMAT)

    def add(self, root: Path, name: str) -> None:
        """Raises OSError when the file cannot be read."""
        descriptor = os.open(root / name, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            # Whole, before the archive learns its size: a file may grow while it is read.
            data = file.read()
        self._write(f"files/{name}", data)
        sha256 = hashlib.sha256(data).hexdigest()
        self.files.append({"path": name, "size_bytes": len(data), "sha256": sha256})

    def close(self) -> None:
        self._write("manifest.json", json.dumps({"files": self.files}, indent=1).encode())
        for layer in (self._archive, self._packed, self._raw):
            layer.close()

    def _write(self, name: str, data: bytes) -> None:
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        self._archive.addfile(entry, io.BytesIO(data))


class Collection:
    """What has been collected: closed parts, the files in them, and the last file looked at."""

    def __init__(self, session: Session) -> None:
        self._session = session
        data = session.checkpoint_data or {}
        self.after: str = data.get("after", "")
        self.parts: list[dict[str, Any]] = data.get("parts", [])
        self.unreadable: int = data.get("unreadable", 0)
        self.files = [entry for part in self.parts for entry in self._files_of(part)]
        self.part = Part(len(self.parts) + 1)

    def add(self, root: Path, name: str) -> None:
        try:
            self.part.add(root, name)
        except OSError as error:
            self.unreadable += 1
            message = f"{name} was left out: {error.strerror}"
            self._session.event("warning", message, level="warning", step="collect")
        self.after = name

    def save(self) -> None:
        """Close and store the open part, then record the checkpoint that builds on it."""
        if self.part.files:
            self.part.close()
            self._store(self.part)
            self.part = Part(len(self.parts) + 1)
        data = {"after": self.after, "parts": self.parts, "unreadable": self.unreadable}
        self._session.checkpoint(data, label=f"{len(self.files)} files")

    def _store(self, part: Part) -> None:
        name = part.path.name
        stored = self._session.upload(part.path, name, "bundle", "application/gzip")
        summary = {
            "name": name,
            "artifact_id": stored["id"],
            "sha256": _sha256(part.path),
            "size_bytes": part.path.stat().st_size,
            "files": len(part.files),
        }
        self.parts.append(summary)
        self.files += [{**entry, "part": name} for entry in part.files]

    def _files_of(self, part: dict[str, Any]) -> list[dict[str, Any]]:
        path = Path(f"stored-{part['name']}")
        self._session.download(part["artifact_id"], path)
        if _sha256(path) != part["sha256"]:
            raise Failure("part_damaged", f"the stored {part['name']} is not what was packed")
        with tarfile.open(path) as archive:
            manifest = archive.extractfile("manifest.json")
            assert manifest is not None
            files = json.load(manifest)["files"]
        path.unlink()
        return [{**entry, "part": part["name"]} for entry in files]


def main(session: Session) -> dict[str, Any]:
    """Walk, hash, pack; a checkpoint every so many files."""
    root = _root(session.input)
    session.event("step.started", f"Walk {root}", step="walk")
    names = _names(root)
    session.event("step.finished", f"{len(names)} files found", step="walk")
    grant = _allowed(session, root)
    session.event("step.started", f"Collect {root}", step="collect")
    collection = _collect(session, root, names, grant)
    session.event("step.finished", f"{len(collection.files)} files packed", step="collect")
    return _finish(session, root, collection)


def _allowed(session: Session, root: Path) -> str:
    operation = f"filesystem.read:{root}"
    session.event("step.started", f"Ask for {operation}", step="permission")
    reason = "Collect the files below this directory as artifacts"
    grant: str = session.obtain_grant(operation, str(root), reason, GRANT_SECONDS)
    session.use_grant(grant, str(root))
    session.event("step.finished", f"{operation} is granted", step="permission")
    return grant


def _collect(session: Session, root: Path, names: list[str], grant: str) -> Collection:
    collection = Collection(session)
    done = bisect.bisect_right(names, collection.after) if collection.after else 0
    if done:
        said = f"Resumed after {collection.after}: {done} of {len(names)} files were done"
        session.event("log", said, step="collect", data={"parts": len(collection.parts)})
    every = int(session.input.get("checkpoint_every", 50))
    pause = float(session.input.get("pause_ms", 0)) / 1000
    for number, name in enumerate(names[done:], done + 1):
        if session.stop_requested:
            collection.save()
            raise Stopped
        collection.add(root, name)
        session.progress(number, len(names), "files", name)
        if number % every == 0 and number < len(names):
            collection.save()
            # Each part is read under a permission that holds now: a revocation ends it here.
            session.use_grant(grant, str(root))
        if pause:
            _pause(session, pause)
    collection.save()
    return collection


def _finish(session: Session, root: Path, collection: Collection) -> dict[str, Any]:
    total = sum(entry["size_bytes"] for entry in collection.files)
    summary = {
        "root": str(root),
        "file_count": len(collection.files),
        "total_bytes": total,
        "unreadable": collection.unreadable,
    }
    manifest = {**summary, "parts": collection.parts, "files": collection.files}
    text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
    (session.output_dir / "manifest.json").write_text(text, "utf-8")
    print(f"{len(collection.files)} files, {total} bytes, {len(collection.parts)} parts")
    return {**summary, "parts": len(collection.parts)}


def _root(given: Any) -> Path:
    root = given.get("root") if isinstance(given, dict) else None
    if not isinstance(root, str) or not Path(root).is_dir():
        raise Failure("bad_input", f"input.root is not a directory on this host: {root!r}")
    return Path(root).resolve()


def _names(root: Path) -> list[str]:
    """The regular files below `root` by relative path, in the one order that resuming needs."""
    found: list[Path] = []
    for parent, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in SKIPPED_DIRECTORIES]
        paths = (Path(parent, name) for name in files)
        found += [path for path in paths if _is_file(path)]
    return sorted(path.relative_to(root).as_posix() for path in found)


def _is_file(path: Path) -> bool:
    """A file that has gone since its directory was read is none."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _pause(session: Session, seconds: float) -> None:
    try:
        session.wait(seconds)
    except Stopped:
        # The loop looks for itself, and saves what there is first.
        return


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    keeptrusts_harness.run(main)
