"""Makes the single file: ``python -m keeptrusts_runners.evidence.verifier.build OUT``.

The file is the sources themselves, one after another, so that an auditor reads what runs. Their
imports of each other are left out and the others are gathered at the top; two modules that define
the same name are refused. The same sources give the same bytes.
"""

from __future__ import annotations

import argparse
import ast
from pathlib import Path

NAME = "keeptrusts-verify.py"
PACKAGE = "keeptrusts_runners"

# (module, name); (None, module) for a whole one
Imports = set[tuple[str | None, str]]

# Each after those that it needs.
MODULES = (
    "evidence.chain",
    "evidence.dsse",
    "evidence.merkle",
    "evidence.checkpoint",
    "evidence.leaves",
    "jwk",
    "evidence.layout",
    "evidence.verifier.report",
    "evidence.verifier.strict_json",
    "evidence.verifier.typeid",
    "evidence.verifier.ed25519",
    "evidence.verifier.archive",
    "evidence.verifier.records",
    "evidence.verifier.redactions",
    "evidence.verifier.ledger",
    "evidence.verifier.trust",
    "evidence.verifier.signed",
    "evidence.verifier.contents",
    "evidence.verifier.anchor",
    "evidence.verifier.log_leaves",
    "evidence.verifier.sums",
    "evidence.verifier.artifact_files",
    "evidence.verifier.verification",
    "evidence.verifier.cli",
)

_DIRECTORY = Path(__file__).resolve().parents[2]
_HEAD = '''\
#!/usr/bin/env python3
"""Verifies the evidence of a Keeptrusts Runners session without the server that wrote it.

    python3 {name} BUNDLE.tar --key=KEY

Needs Python 3.11 or newer and nothing else. It opens no connection, unpacks nothing and writes
nothing. Exit code 0: verified. 1: broken. 2: the input is not usable.

Built from the modules of {package}; change those, not this file.
"""

from __future__ import annotations

'''
_TAIL = """

if __name__ == "__main__":
    sys.exit(main())
"""


def source() -> str:
    """The text of the single file."""
    imports: Imports = {(None, "sys")}
    owners: dict[str, str] = {}
    parts = []
    for module in MODULES:
        text = _path(module).read_text(encoding="utf-8")
        tree = ast.parse(text)
        imports |= _outside_imports(module, tree)
        _claim_names(module, tree, owners)
        parts.append(_part(module, text, tree))
    if shadowed := owners.keys() & {name for _, name in imports}:
        raise ValueError(f"both imported and defined: {sorted(shadowed)}")
    head = _HEAD.format(name=NAME, package=PACKAGE)
    return head + "\n".join(_import_lines(imports)) + "\n" + "".join(parts) + _TAIL


def build(target: Path) -> None:
    """Write the single file to `target` and make it executable."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(source(), encoding="utf-8")
    target.chmod(0o755)


def _path(module: str) -> Path:
    return _DIRECTORY.joinpath(*module.split(".")).with_suffix(".py")


def _claim_names(module: str, tree: ast.Module, owners: dict[str, str]) -> None:
    for name in _defined_names(tree):
        if name in owners:
            raise ValueError(f"{module} and {owners[name]} both define {name}")
        owners[name] = module


def _defined_names(tree: ast.Module) -> list[str]:
    names = []
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.append(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        names += [target.id for target in targets if isinstance(target, ast.Name)]
    return names


def _imports(tree: ast.Module) -> list[ast.Import | ast.ImportFrom]:
    return [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]


def _outside_imports(module: str, tree: ast.Module) -> Imports:
    """The imports of the standard library."""
    imports: Imports = set()
    for node in _imports(tree):
        origin = node.module if isinstance(node, ast.ImportFrom) else None
        if any(alias.asname for alias in node.names):
            raise ValueError(f"{module} imports something by another name")
        if origin is not None and origin.startswith(PACKAGE):
            _check_inside(module, origin)
        elif origin != "__future__":
            imports |= {(origin, alias.name) for alias in node.names}
    return imports


def _check_inside(module: str, origin: str) -> None:
    """An import from among ourselves must name a module that stands before."""
    before = MODULES[: MODULES.index(module)]
    if origin.removeprefix(f"{PACKAGE}.") not in before:
        raise ValueError(f"{module} imports from {origin}, which does not stand before it")


def _import_lines(imports: Imports) -> list[str]:
    lines = [f"import {name}" for origin, name in sorted(imports, key=str) if origin is None]
    for module in sorted({origin for origin, _ in imports if origin is not None}):
        names = sorted(name for origin, name in imports if origin == module)
        lines.append(f"from {module} import {', '.join(names)}")
    return lines


def _part(module: str, text: str, tree: ast.Module) -> str:
    """A module without its imports, its docstring as a comment."""
    lines = text.splitlines()
    dropped: set[int] = set()
    for node in [tree.body[0], *_imports(tree)]:
        assert node.end_lineno is not None
        dropped |= set(range(node.lineno, node.end_lineno + 1))
    kept = [line for number, line in enumerate(lines, start=1) if number not in dropped]
    docstring = (ast.get_docstring(tree) or "").splitlines()
    title = [f"# ---- {module} ".ljust(99, "-"), *(f"# {line}".rstrip() for line in docstring)]
    return "\n\n" + "\n".join(title) + "\n\n" + "\n".join(kept).strip("\n") + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the verifier's single file.")
    parser.add_argument("out", type=Path, metavar="OUT", help=f"e.g. {NAME}")
    build(parser.parse_args().out)


if __name__ == "__main__":
    main()
