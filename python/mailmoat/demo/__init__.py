"""The settings and sample recipients of `mailmoat serve --demo`: a whole server below the working directory, for trying it out.

Writes one file, the sample recipients, which can be edited.
"""

from __future__ import annotations

import shlex
import sys
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mailmoat.settings import Settings

SENDER = "you@example.org"
KNOWN = "alice@example.test"
UNKNOWN = "nobody@example.test"


def settings_file() -> Path:
    """Return the path of the packaged settings; their relative paths are below the working directory."""
    return Path(str(files(__name__) / "mailmoat.toml"))


def lay_out(settings: Settings) -> None:
    """Put the sample recipients where the settings look for them, unless something is there. OSError when that cannot be."""
    target = settings.recipients.file
    if target is None or target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes((files(__name__) / "recipients.txt").read_bytes())


def what_to_type(settings: Settings) -> str:
    """Return the next steps for a newcomer, ready to paste into a second terminal."""
    listener = settings.listen[0]
    host, port = listener.host, listener.port
    server = f"smtplib.SMTP('{host}', {port})"
    message = f"From: {SENDER}\\r\\nTo: {KNOWN}\\r\\nSubject: hello\\r\\n\\r\\nIt works.\\r\\n"
    next_hop = settings.delivery.next_hop
    kept = next_hop.path if next_hop else None
    seconds = f"{settings.tarpit.time:g} s"
    return f"""\
The mailmoat demo listens on {listener}. In a second terminal, send a message:

  python3 -c "import smtplib; {server}.sendmail('{SENDER}', '{KNOWN}', '{message}')"

or, with swaks:

  swaks --server {listener} --from {SENDER} --to {KNOWN}

{f"The message is delivered to:  ls {shlex.quote(f'{kept}/new')}" if kept else f"The message goes to {next_hop or 'the spool'}."}

The tar pit: an unknown recipient is refused, and the refusal takes {seconds}:

  python3 -c "import smtplib, time; s = {server}; s.ehlo(); s.mail('{SENDER}'); t = time.time(); \
print(s.rcpt('{UNKNOWN}'), round(time.time() - t, 1), 's')"

The state of the server; `queue list` in place of `status` lists its queue:

  MAILMOAT_SPOOL_DIR={shlex.quote(str(settings.spool_dir))} {_program()} status

The recipients are in {settings.recipients.file}: edit the file while the server runs. {_metrics(settings)}Ctrl-C stops the demo.
"""


def _program() -> str:
    return shlex.quote(sys.argv[0])


def _metrics(settings: Settings) -> str:
    return f"Metrics: http://{settings.admin.listen}/metrics. " if settings.admin.listen else ""
