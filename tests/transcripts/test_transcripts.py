"""SMTP dialogues as golden files: each `*.smtp` here is played four ways and must come out the same: whole, by line, by byte, and whole
with all agents asked at each stage, so that a stage which Rust passes is one that they pass.

    # A comment.
    config tarpit.time=5            a setting, by its name in `mailmoat settings`; before the dialogue begins
    alias info@example.test = alice@example.test, a@b.test    an alias that the directory has
    known carol@example.test        one more address the directory has (always: alice, bob, localuser)
    dns a.test TXT v=spf1 -all      one more record that the name servers have; `dns a.test fails` (SERVFAIL, with all below it) and
                                    `dns a.test takes 2s` (for each question) say how they answer
    peer 198.51.100.7               the client's address (else 192.0.2.1)
    binary                          the next hop offers BINARYMIME
    auth in clear                   clients can authenticate (tests/doubles/authenticator.py) here, or `auth under tls`
    listener proxy://192.0.2.25:25  the listener, with its scheme (else 192.0.2.25:25)
    block 192.0.2.0/24 # reason     a line of the block list; `allow ...` one of the allow list
    senders alice a@example.test    a line of the file `auth.senders`
    tags 3 0                        bounce tags are made by the key of this number, made on this day, of 32 octets that are 0
    others 3                        as many connections of the same client are open already
    seen unknown-recipient 20       the reputation of the client begins with so much evidence
    agent rcpt waits 2s refuses 550 5.7.1 No
                                    one more agent: at a stage it `passes`, `accepts`, `raises`, `refuses CODE ENHANCED TEXT`,
                                    `discards`, `stamps Name: value`, `drops ADDRESS ...`, `redirects ADDRESS`, `tarpits Ns`, `mumbles` (gives no
                                    verdict), `cancels` (raises CancelledError), `exits` (raises SystemExit),
                                    each after `waits Ns` if wanted, or `hangs` (never answers), `goes on` (the same, also when it is
                                    cancelled); `agent rcpt if slow raises` does so for the recipients with that local part only

    C: EHLO client.test             the client sends a line; CRLF is added
    C> data\\r\\n                     the client sends these octets and nothing more
    C*3: RCPT TO:<u{n}@x.test>      three lines, {n} counts from 1
    C! vanishes                     the connection is lost; also `ends input`, `stops reading`, `reads again`
    C! TLS                          the client begins a TLS handshake (OpenSSL); from then on it speaks in TLS. STARTTLS is offered
                                    with `config tls.offer=on`
    C! closes TLS                   the client sends close_notify
    S: 250 2.0.0 OK                 the server says this at once; a `...` at the end stands for any text, in `250-...` for lines
    S*3: 250 2.1.5 u{n}@x.test      three such lines
    S+5.0s: 550 5.1.1 User unknown  the server says this 5.00 s after the client's last act, not sooner and not later
    S: (closes)                     the server closes the connection; `(aborts)` without waiting for the client to read
    S: (TLSv1.3)                    the handshake is done
    S: (keeps q1 from <a@b> to <c>) the message is on disk; it stands before the reply that says so
    S: (with RET=HDRS)              its parameters of MAIL, `S: (for <c> NOTIFY=NEVER)` those of a recipient, when a transcript has such lines
    S: (TLS optional)               it has `TLS-Required: No`
    S| Subject: x                   its lines, when a transcript has any such line; `\\xff`, `\\r`, `\\n` as they are
    @ +4.9s                         time passes; whatever the server says meanwhile must be written below
    ! disk full                     the world changes: `pressure medium`, `pressure high`, `pressure normal`, `disk ok`, `disk 0.3s` (to commit), `directory down`, `directory up`,
                                    `shutdown`, `shutdown at once`, `evict` (the longest held session)

Client lines that follow each other are one pipelined group: sent in one piece, line by line, octet by octet. In client lines
`\\r \\n \\t \\0 \\\\ \\xff` are octets and `{x*500}` is 500 times x; other text is UTF-8. At the end the client vanishes, and nothing
of its connection may be left: no deadline, no held place, no count.
"""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import script  # noqa: E402

FILES = sorted(HERE.glob("**/*.smtp"))


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_transcript(path, tmp_path):
    differs = script.play(path.read_text(), tmp_path)
    assert not differs, f"{path.name}\n{differs}"


@pytest.mark.parametrize(
    ("text", "differs"),
    [
        ("S: 220 ...\nC: NOOP\nS: 250 2.0.0 No\n", "-S: 250 2.0.0 No\n+S: 250 2.0.0 OK"),
        ("S: 220 ...\nC: NOOP\n", "+S: 250 2.0.0 OK"),
        ("S: 220 ...\nC: NOOP\nS: 250 ...\nS: 250 ...\n", "-S: 250 ..."),
        ("config tarpit.time=5\nS: 220 ...\nC: X\nS+4.9s: 500 ...\n", "-S+4.9s: 500 ..."),
        ("config tarpit.time=5\nS: 220 ...\nC: X\n@ +6s\nS+6.0s: 500 ...\n", "+S+5.0s: 500 "),
    ],
)
def test_what_differs_is_shown(text, differs, tmp_path):
    assert differs in script.play(text, tmp_path)
