# SPDX-License-Identifier: MIT
"""Undo everything on every way out: end, error, Ctrl-C, SIGTERM, SIGHUP."""
import contextlib
import signal
import sys

FATAL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal asked the program to end; .status is its exit status."""

    def __init__(self, signum):
        super().__init__(signal.Signals(signum).name)
        self.status = 128 + signum


def _raise(signum, _frame):
    raise Interrupted(signum)


@contextlib.contextmanager
def undo_stack():
    """An ExitStack that also unwinds on signals, and is not cut short by a
    second one.  A callback that fails is reported and the rest still run."""
    old = {s: signal.signal(s, _raise) for s in FATAL}
    stack = contextlib.ExitStack()
    try:
        yield stack
    finally:
        for s in FATAL:
            signal.signal(s, signal.SIG_IGN)
        try:
            stack.close()
        finally:
            for s, handler in old.items():
                signal.signal(s, handler)


@contextlib.contextmanager
def uninterrupted():
    """Let signals wait while something is made that must be undone, so that
    none comes between the making and the noting."""
    waiting = []
    old = {s: signal.signal(s, lambda signum, _: waiting.append(signum))
           for s in FATAL}
    try:
        yield
    finally:
        for s, handler in old.items():
            signal.signal(s, handler)
    if waiting:
        raise Interrupted(waiting[0])


def undo(stack, what, function, *args):
    """Have @function(*args) run at the end; @what names it if it fails."""

    def attempt():
        try:
            function(*args)
        except Exception as e:  # the other callbacks must still run
            print(f'clean-up: {what}: {e}', file=sys.stderr)

    stack.callback(attempt)
