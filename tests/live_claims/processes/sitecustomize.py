"""With this directory on PYTHONPATH a server loses every announcement of work.

LOSES names what: `announcements`, or `announcements,looks` for a server that does not look by
itself either. The file that ASKED names is there once a claim has found nothing.
"""

import importlib.abc
import importlib.machinery
import os
import sys
from pathlib import Path

_loses = os.environ["LOSES"].split(",")


def _wakeups(module):
    module.announce = lambda organization_id: None


def _waiting_room(module):
    if "looks" in _loses:
        module.LOOK_SECONDS = 3600.0


def _queue(module):
    take = module.take

    def take_and_tell(*args, **options):
        found = take(*args, **options)
        if not found:
            Path(os.environ["ASKED"]).touch()
        return found

    module.take = take_and_tell


_CHANGES = {
    "sessions.wakeups": _wakeups,
    "sessions.queue": _queue,
    "sessions.waiting_room": _waiting_room,
}


class _Changing(importlib.abc.MetaPathFinder):
    """Changes these modules as soon as they are loaded."""

    def find_spec(self, name, path, target=None):
        if name not in _CHANGES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        load = spec.loader.exec_module

        def load_and_change(module):
            load(module)
            _CHANGES[name](module)

        spec.loader.exec_module = load_and_change
        return spec


sys.meta_path.insert(0, _Changing())
