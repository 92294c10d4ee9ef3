# SPDX-License-Identifier: MIT
"""What clients of a mount print of what they see: "ok - WHAT" or "not ok -
WHAT", which the test that runs them adopts."""


def equal(what, got, want):
    print(f'{"ok" if got == want else "not ok"} - {what}')
    if got != want:
        print(f'# got {got!r}, want {want!r}')


def result(call, *arguments):
    """What call() returns, or the message of its error."""
    try:
        return call(*arguments)
    except OSError as e:
        return e.strerror
