"""Names of commands that administrators of other mail servers type, and the command that does the same here.

Without them `queue delete` was answered by "Did you mean 'release'?", which sends what somebody wanted to be rid of.
"""

from __future__ import annotations

from typing import Any, Final

from typer.core import TyperGroup

_QUEUE: Final = {
    "cat": "show",
    "delete": "remove",
    "expire": "bounce",
    "freeze": "hold",
    "ls": "list",
    "purge": "remove",
    "requeue": "release",
    "resume": "release",
    "rm": "remove",
    "run": "flush",
    "suspend": "hold",
    "thaw": "release",
    "unhold": "release",
    "view": "show",
}
MEANT: Final = {
    **{f"queue {typed}": f"queue {name}" for typed, name in _QUEUE.items()},
    "check": "check-config",
    "flush": "queue flush",
    "list": "queue list",
    "mailq": "queue list",
    "postcat": "queue show",
    "postconf": "settings",
    "postqueue": "queue list",
    "postsuper": "queue",
    "qshape": "queue stats",
    "start": "serve",
}
"""By the words that were typed after `mailmoat`."""


class Group(TyperGroup):
    """A group of commands that knows these names; unlike a guess by similar letters, it is right."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that was typed, or end with the name of the one that was meant."""
        typed = " ".join([*ctx.command_path.split()[1:], *args[:1]])
        if args and args[0] not in self.commands and typed in MEANT:
            ctx.fail(f"No such command '{args[0]}': `mailmoat {MEANT[typed]}` does that.")
        return super().resolve_command(ctx, args)
