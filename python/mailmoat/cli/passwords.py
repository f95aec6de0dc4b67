"""Passwords on the command line: asked for at the terminal, or the first line of standard input; never an argument, which all can see."""

from __future__ import annotations

import sys
from typing import Final

import typer

from mailmoat.cli.options import fail

LONGEST_LINE: Final = 4096
"""Octets of standard input in which a password is looked for."""


def given_password(name: str, *, stdin: bool, twice: bool = False) -> str:
    """Return a password as it was given: asked for at the terminal, or read from standard input; end with status 1 without one."""
    if stdin:
        line = sys.stdin.buffer.readline(LONGEST_LINE).removesuffix(b"\n").removesuffix(b"\r")
        try:
            return line.decode()
        except UnicodeDecodeError:
            fail("the password on standard input is not UTF-8")
    if not sys.stdin.isatty():
        fail("there is no terminal to ask for the password: use --password-stdin")
    asked: str = typer.prompt(f"Password of {name}", hide_input=True, confirmation_prompt=twice)
    return asked


def new_password(name: str, *, stdin: bool) -> bytes:
    """Return a password to be kept, prepared."""
    from mailmoat.auth.passwords import LONGEST_PASSWORD
    from mailmoat.auth.prepare import prepare

    try:
        octets = prepare(given_password(name, stdin=stdin, twice=True), stored=True).encode()
    except ValueError as error:
        fail(f"the password cannot be used: {error}")
    if len(octets) > LONGEST_PASSWORD:
        fail(f"the password cannot be used: it has more than {LONGEST_PASSWORD} octets")
    return octets
