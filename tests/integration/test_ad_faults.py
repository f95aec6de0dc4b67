"""What RCPT is answered while domain controllers are away, hang, are slow, or show a certificate that is not to be trusted.

`MAILMOAT_TEST_SOAK=1` alone: a controller is started again for each.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from tests import samba
from tests.certificates import Authority
from tests.integration.conftest import Server, wait_for
from tests.integration.test_ldap_directory import code
from tests.samba import PASSWORD, account, own_address, provision, user

OBJECTS = [user(name, mail=f"{name}@example.test") for name in ("alice", "bob")]
ROWS = """
[[directories]]
name = "read"
url = "ads://{address}"
domains = ["example.test"]
interval = "1s"
{access}

[[directories]]
name = "asked"
url = "ads://{address}"
mode = "live"
domains = ["live.test"]
timeout = "2s"
{access}
"""
ACCESS = """
account = "reader@{realm}"
password_file = "{directory}/password"
tls_ca = "{directory}/ca.pem"
"""


@pytest.fixture(scope="module")
def world():
    """A controller, and a server that reads its recipients of one domain and asks for those of another."""
    if os.environ.get("MAILMOAT_TEST_SOAK") != "1":
        pytest.skip("the long form: set MAILMOAT_TEST_SOAK=1")
    directory = Path(tempfile.mkdtemp(prefix="mailmoat-ad-"))
    directory.chmod(0o755)
    controller = provision(directory / "dc1", own_address(3), Authority(directory / "ca"))
    controller.fill([*OBJECTS, account("reader"), *(user(f"l{n}", mail=f"l{n}@live.test") for n in range(99))])
    public = directory / "mailmoat"
    public.mkdir()
    (public / "password").write_text(PASSWORD)
    shutil.copy(controller.authority.certificate, public / "ca.pem")
    access = ACCESS.format(realm=samba.REALM, directory=public)
    rows = ROWS.format(address=controller.address, access=access)
    relay = {"MAILMOAT_RELAY__LOCAL_DOMAINS": "example.test,live.test", "MAILMOAT_RECIPIENTS__FILE": None}
    server = Server(public, rows, **relay, MAILMOAT_TARPIT__TIME="0", MAILMOAT_WORKERS="1")
    with samba.running(controller):
        server.start()
        try:
            wait_for(lambda: code(server, "alice@example.test") == 250, 30, "the first read")
            yield controller, server
        finally:
            server.stop()
    shutil.rmtree(directory)


def restarted(controller, *names, authority=None, days=90):
    """Let it run with another certificate."""
    controller.stop()
    files = (authority or controller.authority).sign(*names, days=days, file=f"fault-{days}-{names[0]}")
    files.key.chmod(0o600)
    lines = controller.conf.read_text().splitlines()
    kept = [line for line in lines if not line.startswith(("tls certfile", "tls keyfile"))]
    controller.conf.write_text("\n".join([*kept, f"tls certfile = {files.chain}", f"tls keyfile = {files.key}", ""]))
    controller.start()


def expired(controller, _):
    restarted(controller, controller.address, days=-1)


def of_another_name(controller, _):
    restarted(controller, "127.1.1.1")


def of_an_unknown_authority(controller, directory):
    restarted(controller, controller.address, authority=Authority(directory / "other"))


def killed(controller, _):
    controller.stop()


def hung(controller, _):
    controller.pause()


def logged(server, event):
    """The lines of this event about the source that is read; the other one is back when it is asked."""
    return [line for line in server.logged(event) if line["source"] == "read"]


def failures(server):
    return [line["detail"] for line in logged(server, "directory-source-failed")]


def is_back(server):
    failed, back = logged(server, "directory-source-failed"), logged(server, "directory-source-back")
    return not failed or (back and back[-1]["time"] > failed[-1]["time"])


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (killed, "no connection: Connection refused"),
        (hung, ""),
        (expired, "its certificate is refused: certificate has expired"),
        (of_another_name, "its certificate is refused"),
        (of_an_unknown_authority, "its certificate is refused"),
    ],
)
def test_nobody_who_exists_is_refused(world, fault, said, tmp_path, request):
    controller, server = world
    number = [killed, hung, expired, of_another_name, of_an_unknown_authority].index(fault)
    assert code(server, f"l{number}@live.test") == 250  # remembered from here on
    failed = len(failures(server))
    fault(controller, tmp_path)
    try:
        # One that hangs is noticed after half a minute.
        wait_for(lambda: any(said in why for why in failures(server)[failed:]) or fault is hung, 30, said)
        answers = {
            address: code(server, address)
            for address in (
                *("alice@example.test", "bob@example.test", "nobody@example.test"),
                *(f"l{number}@live.test", f"l{50 + number}@live.test", f"nobody{number}@live.test"),
            )
        }
        print(request.node.callspec.id, answers)
        assert list(answers.values()) == [250, 250, 550, 250, 451, 451]
    finally:
        with suppress(ProcessLookupError, AttributeError):
            controller.go_on()
        if fault is not hung:
            restarted(controller, controller.name, controller.address)
    wait_for(lambda: is_back(server), 90, "the source again")
    wait_for(lambda: code(server, f"l{70 + number}@live.test") == 250, 30, "live answers again")
    assert code(server, f"l{50 + number}@live.test") == 250
    assert code(server, f"nobody{number}@live.test") == 550
