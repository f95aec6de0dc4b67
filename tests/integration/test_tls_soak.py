"""testssl.sh at a running server, for `make soak`: it takes minutes. In a network of its own, for it asks name servers otherwise."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from tests.certificates import Authority
from tests.integration.conftest import free_port
from tests.namespace import alone
from tests.needs import find_peer

HOST = "mx.example.test"
# "engine_problem" is about the OpenSSL that testssl.sh itself uses.
FINDINGS = {"LOW", "MEDIUM", "HIGH", "CRITICAL", "WARN", "FATAL"}

if os.environ.get("MAILMOAT_TEST_SOAK") == "1":

    @pytest.mark.peer("testssl")
    @pytest.mark.timeout(900)
    @pytest.mark.usefixtures("root")
    @pytest.mark.parametrize("implicit", [False, True])
    def test_testssl_finds_no_protocol_suite_or_flaw(server, tmp_path, implicit):
        authority = Authority(tmp_path / "authority")
        ecdsa, rsa = authority.sign(HOST, file="ecdsa"), authority.sign(HOST, kind="rsa2048", file="rsa")
        with alone():
            mx = server(
                start=False,
                MAILMOAT_TLS__CERTIFICATE=f"{ecdsa.chain},{rsa.chain}",
                MAILMOAT_TLS__KEY=f"{ecdsa.key},{rsa.key}",
                MAILMOAT_TLS__WITHHOLD="0",  # else the first old version that is tried ends the offer of STARTTLS
            )
            port = free_port() if implicit else mx.port
            if implicit:
                mx.environment["MAILMOAT_LISTEN"] += f", smtps://127.0.0.1:{port}"
            mx.start()
            report = tmp_path / "report.json"
            words = [find_peer("testssl"), "--nodns", "none", "--warnings", "off", "-p", "-s", "-U"]
            words += ["--jsonfile", str(report), *([] if implicit else ["-t", "smtp"]), f"127.0.0.1:{port}"]
            subprocess.run(words, stdout=subprocess.DEVNULL, check=False)
            assert mx.stop() == 0
        found = json.loads(report.read_text())
        assert {"TLS1_2", "TLS1_3", "heartbleed", "ROBOT", "BEAST"} <= {each["id"] for each in found}
        assert [each for each in found if each["severity"] in FINDINGS and each["id"] != "engine_problem"] == []
