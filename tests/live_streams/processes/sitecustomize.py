"""With this directory on PYTHONPATH a server is another in the names that PATCHES gives.

It is JSON: of each module the names and their values, where null stands for a function that does
nothing.
"""

import importlib.abc
import importlib.machinery
import json
import os
import sys

_PATCHES = json.loads(os.environ["PATCHES"])


def _nothing(*_args, **_options):
    pass


class _Patching(importlib.abc.MetaPathFinder):
    """Changes these modules as soon as they are loaded."""

    def find_spec(self, name, path, target=None):
        if name not in _PATCHES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        load = spec.loader.exec_module

        def load_and_change(module):
            load(module)
            for known, value in _PATCHES[name].items():
                assert hasattr(module, known), known
                setattr(module, known, _nothing if value is None else value)

        spec.loader.exec_module = load_and_change
        return spec


sys.meta_path.insert(0, _Patching())
