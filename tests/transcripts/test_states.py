"""Every command in every state: the reply (RFC 5321 4.2, 4.3.2) and the state it leaves, by table; each cell is a transcript.

A reply is as transcripts have it, `|` before the name of the state that follows; without one the state is the same as before.
"""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import script

HELLO = "S: 220 ...\nC: EHLO client.test\nS: 250-...\nS: 250 SMTPUTF8\n"
MAIL = HELLO + "C: MAIL FROM:<a@client.test>\nS: 250 2.1.0 ...\n"
RCPT = MAIL + "C: RCPT TO:<alice@example.test>\nS: 250 2.1.5 ...\n"

STATES = {
    "fresh": "S: 220 ...\n",
    "helo": "S: 220 ...\nC: HELO client.test\nS: 250 ...\n",
    "ehlo": HELLO,
    "mail": MAIL,
    "refused": MAIL + "C: RCPT TO:<nobody@example.test>\nS: 550 5.1.1 ...\n",
    "rcpt": RCPT,
    "ended": RCPT + "C: DATA\nS: 354 ...\nC: .\nS: (keeps q1 ...\nS: 250 2.6.0 ...\n",
}
"""What brings a session into a state."""

PROOFS = {
    "fresh": "C: DATA\nS: 503 5.5.1 Need MAIL...\nC: MAIL FROM:<p@client.test>\nS: 503 5.5.1 Send hello first\n",
    "ready": "C: DATA\nS: 503 5.5.1 Need MAIL...\nC: MAIL FROM:<p@client.test>\nS: 250 2.1.0 p@client.test...\n",
    "mail": "C: DATA\nS: 554 5.5.1 ...\nC: MAIL FROM:<p@client.test>\nS: 503 5.5.1 Sender already specified\n",
    "rcpt": "C: DATA\nS: 354 ...\nC: .\nS: (keeps ...\nS: 250 2.6.0 ...\n",
    "chunks": "C: DATA\nS: 503 5.5.1 The content has begun...\nC: BDAT 0 LAST\nS: (keeps ...\nS: 250 2.6.0 ...\n",
    "content": "C: .\nS: (keeps ...\nS: 250 2.6.0 ...\n",
    "closed": "S: (closes)\n",
}
"""What only a session in that state answers so."""
SAME = {
    "fresh": "fresh",
    "helo": "ready",
    "ehlo": "ready",
    "ended": "ready",
    "mail": "mail",
    "refused": "mail",
    "rcpt": "rcpt",
}

SYNTAX, ARGUMENT, UNKNOWN = "501 5.5.4 ...", "501 5.5.4 The argument is missing", "500 5.5.1 Unrecognized command"
ABSENT = "502 5.5.1 Command not implemented"
MAIL_FIRST, HELLO_FIRST = "503 5.5.1 Need MAIL command first", "503 5.5.1 Send hello first"
NESTED, NO_RECIPIENT = "503 5.5.1 Sender already specified", "554 5.5.1 No valid recipients"
EHLO_REPLY = "250-...\nS: 250 SMTPUTF8"
STRANGER = "421 4.7.0 mx.example.test This is an SMTP server; closing|closed"
NOBODY = "503 5.5.1 Need an accepted recipient first|ready"
LOST = "501 5.5.4 BDAT needs ...\nS: 421 4.5.0 mx.example.test Cannot tell ...|closed"
BYE = "221 2.0.0 mx.example.test Service closing transmission channel|closed"
NO_SERVICE = "503 5.5.1 No service here; send QUIT"
RCPT_REPLY = "250 2.1.5 alice@example.test|rcpt"


def everywhere(reply):
    return dict.fromkeys(STATES, reply)


def between(reply, *, fresh, outside, inside=None):
    """`fresh` before HELO, `outside` a transaction, `inside` one; `reply` where nothing else is said."""
    row = dict.fromkeys(STATES, reply) | {"fresh": fresh}
    row |= dict.fromkeys(("helo", "ehlo", "ended"), outside)
    return row | (dict.fromkeys(("mail", "refused", "rcpt"), inside) if inside else {})


TABLE = {
    "HELO client.test": everywhere("250 mx.example.test Hello [192.0.2.1]|ready"),
    "EHLO client.test": everywhere(EHLO_REPLY + "|ready"),
    "EHLO": everywhere("501 The argument is missing"),
    "HELO not a name": everywhere("501 Invalid domain name"),
    "MAIL FROM:<b@client.test>": between(
        "", fresh=HELLO_FIRST, outside="250 2.1.0 b@client.test...|mail", inside=NESTED
    ),
    "MAIL FROM:<b@": everywhere("501 5.1.7 ..."),
    "MAIL": everywhere(ARGUMENT),
    "RCPT TO:<alice@example.test>": between(RCPT_REPLY, fresh=MAIL_FIRST, outside=MAIL_FIRST),
    "RCPT TO:<nobody@example.test>": between("550 5.1.1 User unknown", fresh=MAIL_FIRST, outside=MAIL_FIRST),
    "RCPT TO:<x@remote.tld>": between(
        "550 5.7.1 Unable to relay for x@remote.tld", fresh=MAIL_FIRST, outside=MAIL_FIRST
    ),
    "RCPT TO:<>": everywhere("501 5.1.3 ..."),
    "RCPT": everywhere(ARGUMENT),
    "DATA": between(NO_RECIPIENT, fresh=MAIL_FIRST, outside=MAIL_FIRST) | {"rcpt": "354 ...|content"},
    "DATA now": everywhere(SYNTAX),
    "RSET": everywhere("250 2.0.0 Resetting|ready") | {"fresh": "250 2.0.0 Resetting"},
    "RSET now": everywhere(SYNTAX),
    "NOOP": everywhere("250 2.0.0 OK"),
    "noop with words": everywhere("250 2.0.0 OK"),
    "QUIT": everywhere(BYE),
    "QUIT now": everywhere(SYNTAX),
    "VRFY alice": everywhere("252 2.5.0 Cannot VRFY user; try RCPT to attempt delivery"),
    "VRFY": everywhere(ARGUMENT),
    "EXPN staff": everywhere(ABSENT),
    "EXPN": everywhere(ARGUMENT),
    "HELP": everywhere("214 2.0.0 ..."),
    "HELP DATA": everywhere("214 2.0.0 ..."),
    "STARTTLS": everywhere(ABSENT),
    "AUTH PLAIN AGEAYg==": everywhere(ABSENT),
    "BDAT 0 LAST": between(NOBODY, fresh=MAIL_FIRST, outside=MAIL_FIRST)
    | {"rcpt": "(keeps ...\nS: 250 2.6.0 ...|ready"},
    "BDAT 0": between(NOBODY, fresh=MAIL_FIRST, outside=MAIL_FIRST) | {"rcpt": "250 2.0.0 0 octets received|chunks"},
    "BDAT": everywhere(LOST),
    "ETRN example.test": everywhere(ABSENT),
    "TURN": everywhere(ABSENT),
    "SEND FROM:<b@client.test>": everywhere(ABSENT),
    "XYZZY": everywhere(UNKNOWN),
    ".": everywhere(UNKNOWN),
    "": everywhere(UNKNOWN),
    " ": everywhere(UNKNOWN),
    "\\xff\\xfe": everywhere(UNKNOWN),
    "NOOP \\0": everywhere(SYNTAX),
    "{x*2100}": everywhere("500 5.5.2 Command line too long"),
    "GET / HTTP/1.1": everywhere(STRANGER),
    "\\x16\\x03\\x01\\x02\\0\\x01": everywhere(STRANGER),
}
NAMES = [command or "empty line" for command in TABLE]
each_command = pytest.mark.parametrize("command", TABLE, ids=NAMES)


def check(text, tmp_path):
    differs = script.play(text, tmp_path)
    assert not differs, f"\n{differs}"


@pytest.mark.parametrize("state", STATES)
@each_command
def test_between_hello_and_content(state, command, tmp_path):
    reply, _, after = TABLE[command][state].partition("|")
    check(STATES[state] + f"C: {command}\nS: {reply}\n" + PROOFS[after or SAME[state]], tmp_path)


@each_command
def test_in_content(command, tmp_path):
    """It is content and nothing else; only the lone dot is the end."""
    if command == ".":
        return
    refused = "500 5.6.0 A line of the message is too long" if command == "{x*2100}" else None
    end = f"S: {refused}\n" if refused else "S: (keeps ...\nS: 250 2.6.0 ...\n"
    text = RCPT + f"C: DATA\nS: 354 ...\nC:\nC: {command}\n@ +5s\nC: .\n{end}"
    check(text + PROOFS["ready"], tmp_path)


@each_command
def test_while_held(command, tmp_path):
    """It waits until the held reply is said; if it is refused itself, its own time on top."""
    reply, _, after = TABLE[command]["rcpt"].partition("|")
    at = "S+10.0s" if reply[0] == "5" else "S+5.0s"
    lines = "".join(f"{at}: {line.removeprefix('S: ')}\n" for line in reply.split("\n"))
    closes = f"{at}: (closes)\n" if after == "closed" else ""
    text = f"C: XYZZY\n@ +4.9s\nS+5.0s: {UNKNOWN}\n"
    late = f"C: XYZZY\nC: {command}\n@ +4.9s\nS+5.0s: {UNKNOWN}\n{lines}{closes}"
    check("config tarpit.time=5\n" + RCPT + text + late, tmp_path)


@each_command
def test_after_a_refusing_greeting(command, tmp_path):
    """503 to everything but QUIT (RFC 5321 3.1); what is no SMTP at all is told so."""
    reply, _, after = TABLE[command]["fresh"].partition("|")
    if command[:4] in ("HELO", "EHLO"):
        reply = "503 No service here; send QUIT"  # RFC 2034 4
    elif after != "closed" and command != "{x*2100}":
        reply = NO_SERVICE
    text = f"agent connect refuses 554 5.7.1 No service\nS: 554 mx.example.test No service\nC: {command}\nS: {reply}\n"
    check(text + (PROOFS["closed"] if after == "closed" else "C: QUIT\nS: 221 ...\nS: (closes)\n"), tmp_path)
