"""With this directory on PYTHONPATH a process of Python's is wrong about the time.

The file that WRONG_CLOCK names holds by how many seconds; of several numbers each look takes the
next, as with a clock that jumps. Only what asks for the time is wrong: monotonic clocks are not.
"""

import datetime
import itertools
import os
import time

_right = {name: getattr(time, name) for name in ("time", "time_ns", "gmtime", "localtime")}
_looks = itertools.count()
_Datetime, _Date = datetime.datetime, datetime.date


def _wrong_by() -> float:
    with open(os.environ["WRONG_CLOCK"]) as file:
        numbers = file.read().split()
    return float(numbers[next(_looks) % len(numbers)])


def _time() -> float:
    return _right["time"]() + _wrong_by()


time.time = _time
time.time_ns = lambda: _right["time_ns"]() + int(_wrong_by()) * 1_000_000_000
time.gmtime = lambda seconds=None: _right["gmtime"](_time() if seconds is None else seconds)
time.localtime = lambda seconds=None: _right["localtime"](_time() if seconds is None else seconds)


class _Standing(type):
    """What stands for another class: its instances are that one's, and so is all it makes. The
    database's driver knows values by their class, and would take a subclass for something else."""

    def __instancecheck__(cls, value):
        return isinstance(value, cls.for_class)

    def __subclasscheck__(cls, kind):
        return issubclass(kind, cls.for_class)

    def __call__(cls, *args, **kwargs):
        return cls.for_class(*args, **kwargs)


class WrongDatetime(_Datetime, metaclass=_Standing):
    __slots__ = ()
    for_class = _Datetime

    @classmethod
    def now(cls, tz=None):
        return _Datetime.fromtimestamp(_time(), tz)

    @classmethod
    def utcnow(cls):
        return _Datetime.fromtimestamp(_time(), datetime.UTC).replace(tzinfo=None)

    @classmethod
    def today(cls):
        return cls.now()


class WrongDate(_Date, metaclass=_Standing):
    __slots__ = ()
    for_class = _Date

    @classmethod
    def today(cls):
        return _Date.fromtimestamp(_time())


datetime.datetime, datetime.date = WrongDatetime, WrongDate
