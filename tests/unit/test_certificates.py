"""The certificates of a server: loaded, made, replaced, refused, and what is said of them."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from tests.certificates import Authority, openssl

from mailmoat import _native, clock
from mailmoat.errors import ConfigError
from mailmoat.settings import Settings
from mailmoat.supervisor import privileges
from mailmoat.supervisor.preflight import acting_as
from mailmoat.tls import certificates, self_signed
from mailmoat.tls.certificate_file import LARGEST, CertificateError, Source, date, read
from mailmoat.tls.findings import examine
from mailmoat.tls.state import CertificateState, expires_early, state_of

HOST = "mx.example.test"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def files(authority, tmp_path):
    """A certificate in files that a test may change."""
    signed = authority.sign(HOST)
    source = Source(tmp_path / "chain.pem", tmp_path / "key.pem")
    put(signed, source)
    return source


def put(signed, source: Source) -> None:
    source.certificate.write_bytes(signed.chain.read_bytes())
    source.key.write_bytes(signed.key.read_bytes())


def tree(tmp_path, **tls) -> Settings:
    return Settings(hostname=HOST, spool_dir=tmp_path / "spool", tls=tls)


def now() -> int:
    return clock.wall_ms() // 1000


def refusal(source: Source) -> str:
    with pytest.raises(CertificateError) as caught:
        read(source)
    return str(caught.value)


# --- reading ---


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("p256", "ECDSA P-256"),
        ("p384", "ECDSA P-384"),
        ("rsa2048", "RSA 2048"),
        ("rsa4096", "RSA 4096"),
        ("ed25519", "Ed25519"),
    ],
)
def test_what_openssl_made_is_read(authority, kind, named):
    signed = authority.sign(HOST, "192.0.2.1", "*.example.org", kind=kind, days=90, file=kind)
    found = read(Source(signed.chain, signed.key))
    leaf, ca = found.identity.chain
    assert leaf.names == [HOST, "*.example.org", "192.0.2.1"] or set(leaf.names) == {HOST, "192.0.2.1", "*.example.org"}
    assert (leaf.subject, leaf.issuer, ca.subject) == (f"CN={HOST}", "CN=Test CA", "CN=Test CA")
    assert (leaf.key_kind, leaf.self_signed, ca.self_signed) == (named, False, True)
    printed = openssl("x509", "-in", signed.chain, "-noout", "-fingerprint", "-sha256").decode().strip()
    assert leaf.fingerprint == printed.partition("=")[2].replace(":", "").lower()
    key = openssl("pkey", "-in", signed.key, "-pubout", "-outform", "DER")
    assert leaf.public_key_digest == hashlib.sha256(key).hexdigest()
    assert 89 <= found.days_left(now()) <= 90
    assert found.is_in_time(now())
    assert leaf.covers("a.example.org")
    assert not leaf.covers("a.b.example.org")


@pytest.mark.parametrize("form", ["pkcs8", "traditional"])
@pytest.mark.parametrize("kind", ["p256", "rsa2048"])
def test_keys_in_both_forms_are_read(authority, tmp_path, kind, form):
    signed = authority.sign(HOST, kind=kind, file=f"{kind}-{form}")
    source = Source(signed.chain, tmp_path / "key.pem")
    if form == "pkcs8":
        openssl("pkcs8", "-topk8", "-nocrypt", "-in", signed.key, "-out", source.key)
    else:
        openssl(*(("ec",) if kind == "p256" else ("rsa", "-traditional")), "-in", signed.key, "-out", source.key)
    assert read(source).leaf.covers(HOST)


def test_text_around_the_blocks_and_windows_line_ends_do_no_harm(files):
    text = b"Bag Attributes\r\n    friendlyName: mx\r\n" + files.certificate.read_bytes().replace(b"\n", b"\r\n")
    files.certificate.write_bytes(b"\xef\xbb\xbf" + text)
    assert read(files).leaf.covers(HOST)


@pytest.mark.parametrize("form", ["x509 -inform der", "pkcs12 -nodes"])
def test_a_file_that_is_not_pem_is_converted_as_its_mistake_says(authority, tmp_path, form):
    signed = authority.sign(HOST)
    file = tmp_path / "mx"
    if form.startswith("x509"):
        openssl("x509", "-in", signed.chain, "-outform", "der", "-out", file)
    else:
        both = ("-in", signed.chain, "-inkey", signed.key)
        openssl("pkcs12", "-export", *both, "-passout", "pass:", "-out", file)
    fix = refusal(Source(file, signed.key)).partition("; convert it with: openssl ")[2]
    assert fix == f"{form} -in {file} -out NEW.pem"
    options = fix.replace("NEW.pem", str(tmp_path / "NEW.pem")).split()
    openssl(*options, *(("-passin", "pass:") if form.startswith("pkcs12") else ()))
    assert read(Source(tmp_path / "NEW.pem", signed.key)).leaf.covers(HOST)


def test_each_mistake_names_file_and_fix(authority, files, tmp_path):
    other = authority.sign("other.test")
    both = f"tls.certificate = {files.certificate}, tls.key = {files.key}: "
    files.key.write_bytes(other.key.read_bytes())
    assert refusal(files) == f"{both}the private key does not belong to the certificate"
    openssl("ec", "-in", other.key, "-aes256", "-passout", "pass:secret", "-out", files.key)
    assert refusal(files) == f"{both}the private key is encrypted; store it without a passphrase"
    files.key.write_bytes(files.certificate.read_bytes())
    assert refusal(files) == f"{both}there is no private key in it (a PEM block `BEGIN PRIVATE KEY`)"
    one = Source(files.certificate, files.certificate)
    assert refusal(one).startswith(f"tls.certificate = {files.certificate}: there is no private key")
    files.certificate.write_bytes(authority.certificate.read_bytes() + other.chain.read_bytes())
    files.key.write_bytes(other.key.read_bytes())
    assert "the key belongs to certificate 2; put that one first" in refusal(files)
    files.certificate.write_bytes(files.key.read_bytes())
    begins = f"tls.certificate = {files.certificate}: there is no certificate in it (a PEM block `BEGIN CERTIFICATE`); "
    assert refusal(files) == f"{begins}it has a key: name it in tls.key, and here the file with the certificate"
    files.certificate.write_text("none\n")
    assert refusal(files) == f"{begins}name a PEM file"
    missing = tmp_path / "none.pem"
    assert refusal(Source(missing, missing)) == (
        f"tls.certificate = {missing}: cannot be read: No such file or directory; name another file"
    )
    assert refusal(Source(files.certificate, missing)).startswith(f"tls.key = {missing}: cannot be read")
    assert (
        refusal(Source(tmp_path, tmp_path))
        == f"tls.certificate = {tmp_path}: cannot be read: Is a directory; name another file"
    )
    missing.write_bytes(b"x" * (LARGEST + 1))
    assert "is larger than 1 MiB" in refusal(Source(missing, missing))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert "is not a file" in refusal(Source(pipe, pipe))


def test_a_key_that_may_not_be_read_says_whom_to_let(files):
    files.key.chmod(0)
    with acting_as(privileges.find("nobody") if os.geteuid() == 0 else None):
        said = refusal(Source(files.key, files.key))
    assert said.removeprefix("tls.certificate = ") == (
        f"{files.key}: may not be read; let the account of the server read it"
    )


@given(st.binary(max_size=400))
@limits(max_examples=300)
def test_any_octets_are_an_identity_or_a_sentence(octets):
    for pem in (octets, b"-----BEGIN CERTIFICATE-----\n" + octets + b"\n-----END CERTIFICATE-----\n"):
        with pytest.raises(ValueError, match=r"\w"):
            _native.TlsIdentity(pem, pem)
    with pytest.raises(ValueError, match="not a certificate"):
        _native.Certificate(octets)


@given(st.data())
@limits(max_examples=100)
def test_no_sentence_has_a_part_of_the_key(data):
    chain, key = _native.TlsIdentity.self_signed([HOST], 10, now())
    place = data.draw(st.integers(0, len(key) - 1))
    broken = key[:place] + data.draw(st.binary(min_size=1, max_size=3)) + key[place + 1 :]
    said = ""
    try:
        _native.TlsIdentity(chain, broken)
    except ValueError as error:
        said = str(error)
    assert not any(line in said for line in key.decode().splitlines()[1:-1])


# --- the settings ---


def test_all_of_the_settings_are_loaded_in_their_order(authority, tmp_path):
    first, second = authority.sign(HOST), authority.sign("b.test", kind="rsa2048")
    pem = [first.chain, second.chain]
    found = certificates.load(tree(tmp_path, certificate=pem, key=[first.key, second.key]))
    assert [loaded.leaf.names for loaded in found.loaded] == [[HOST], ["b.test"]]
    assert not found.self_signed
    with pytest.raises(ConfigError) as caught:
        certificates.load(tree(tmp_path, certificate=pem, key=[second.key, first.key], client_ca=tmp_path / "no"))
    assert [mistake.partition(",")[0] for mistake in caught.value.mistakes[:2]] == [
        f"tls.certificate = {path}" for path in pem
    ]
    assert caught.value.mistakes[2].startswith(f"tls.client_ca = {tmp_path / 'no'}: cannot be read")


def test_a_server_without_tls_needs_no_certificate(tmp_path):
    off = tree(tmp_path, offer=False)
    assert certificates.load(off) is None
    for listen in ("smtps://127.0.0.1:465", "submission://127.0.0.1:587"):
        (tmp_path / "spool").mkdir(exist_ok=True)
        assert certificates.load(off.model_copy(update={"listen": Settings(listen=listen).listen})).self_signed


# --- the self-signed one ---


def test_it_is_made_once_for_the_account_alone(tmp_path):
    (tmp_path / "spool").mkdir()
    before = os.umask(0)
    try:
        made = certificates.load(tree(tmp_path))
    finally:
        os.umask(before)
    (loaded,) = made.loaded
    assert made.self_signed
    assert loaded.leaf.names == [HOST]
    assert loaded.leaf.key_kind == "ECDSA P-256"
    assert loaded.days_left(now()) == self_signed.DAYS - 1 or loaded.days_left(now()) == self_signed.DAYS
    file = tmp_path / "spool" / self_signed.FILE_NAME
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert certificates.load(tree(tmp_path)).loaded[0].leaf.fingerprint == loaded.leaf.fingerprint
    assert [path.name for path in (tmp_path / "spool").iterdir()] == [self_signed.FILE_NAME]
    assert openssl("verify", "-CAfile", file, file).endswith(b": OK\n")


def test_it_is_made_again_when_it_does_not_fit(tmp_path, monkeypatch):
    first = self_signed.ensure(tmp_path, HOST)
    second = self_signed.ensure(tmp_path, "other.test")
    assert second.leaf.names == ["other.test"]
    second.source.certificate.write_bytes(b"half")
    third = self_signed.ensure(tmp_path, "other.test")
    assert len({loaded.leaf.fingerprint for loaded in (first, second, third)}) == 3
    later = clock.wall_ms() + (self_signed.DAYS - self_signed.NEARLY_OVER + 1) * 86_400_000
    monkeypatch.setattr(clock, "wall_ms", lambda: later)
    assert self_signed.ensure(tmp_path, "other.test").leaf.not_after > third.leaf.not_after


@pytest.mark.parametrize(
    ("hostname", "name"),
    [
        ("[192.0.2.1]", "192.0.2.1"),
        ("[IPv6:2001:db8::1]", "2001:db8::1"),
        ("localhost", "localhost"),
        ("my_mx.test", "my_mx.test"),
    ],
)
def test_a_hostname_of_any_form_has_one_certificate(tmp_path, hostname, name):
    host = Settings(hostname=hostname).hostname
    made = self_signed.ensure(tmp_path, host)
    assert made.leaf.names == [name]
    assert self_signed.ensure(tmp_path, host).leaf.fingerprint == made.leaf.fingerprint


def test_a_spool_that_cannot_be_written_is_a_mistake(tmp_path):
    with pytest.raises(ConfigError) as caught:
        certificates.load(tree(tmp_path))
    (mistake,) = caught.value.mistakes
    assert mistake == (
        f"{tmp_path}/spool/{self_signed.FILE_NAME}: cannot be written: No such file or directory; make room there, or name a "
        "certificate in tls.certificate"
    )


# --- replacing ---


def load(tmp_path, files, **tls) -> certificates.Certificates:
    return certificates.load(tree(tmp_path, certificate=[files.certificate], key=[files.key], **tls))


def test_nothing_is_read_while_nothing_changes(tmp_path, files):
    before = load(tmp_path, files)
    after, replaced, problems = certificates.look(before, HOST)
    assert (after.loaded[0] is before.loaded[0], replaced, problems) == (True, [], [])


def test_a_renewal_is_taken_in_one_step(authority, tmp_path, files):
    before = load(tmp_path, files)
    renewed = authority.sign(HOST, "second.test", file="renewed")
    files.certificate.write_bytes(renewed.chain.read_bytes())
    half, replaced, (problem,) = certificates.look(before, HOST)
    assert half.loaded == before.loaded
    assert replaced == []
    assert str(problem).endswith("the private key does not belong to the certificate")
    files.key.write_bytes(renewed.key.read_bytes())
    after, replaced, problems = certificates.look(half, HOST)
    assert after.loaded[0].leaf.names == [HOST, "second.test"]
    assert (list(after.loaded), problems) == (replaced, [])
    assert certificates.look(after, HOST)[1] == []


def test_links_that_are_turned_are_a_change(authority, tmp_path):
    """As certbot does: `live/` has links into `archive/`."""
    one, two = authority.sign(HOST, file="cert1"), authority.sign(HOST, file="cert2")
    live = Source(tmp_path / "fullchain.pem", tmp_path / "privkey.pem")
    live.certificate.symlink_to(one.chain)
    live.key.symlink_to(one.key)
    before = load(tmp_path, live)
    for link, target in ((live.certificate, two.chain), (live.key, two.key)):
        (tmp_path / "new").symlink_to(target)
        (tmp_path / "new").replace(link)
    assert len(certificates.look(before, HOST)[1]) == 1


def test_what_is_not_sound_does_not_replace_what_is(authority, tmp_path, files):
    before = load(tmp_path, files)
    put(authority.sign(HOST, days=-1, file="over"), files)
    after, _, (problem,) = certificates.look(before, HOST)
    assert after.loaded == before.loaded
    assert "only; replace it by one that is valid now" in str(problem)
    put(authority.sign("other.test"), files)
    after, _, (problem,) = certificates.look(before, HOST)
    assert after.loaded == before.loaded
    assert f"the new certificate is for other.test, not for {HOST} as the old one" in str(problem)
    files.key.unlink()
    after, _, (problem,) = certificates.look(before, HOST)
    assert after.loaded == before.loaded
    assert f"{files.key} is not there, or may not be seen; put it back" in str(problem)
    put(authority.sign(HOST, file="back"), files)
    assert len(certificates.look(before, HOST)[1]) == 1


def test_one_that_is_over_is_replaced_by_whatever_comes(authority, tmp_path, files):
    put(authority.sign(HOST, days=-1, file="over-before"), files)
    before = load(tmp_path, files)
    put(authority.sign(HOST, days=-1, file="over-after"), files)
    assert len(certificates.look(before, HOST)[1]) == 1


def test_each_of_several_is_replaced_by_itself(authority, tmp_path, files):
    other = Source(tmp_path / "b.pem", tmp_path / "b.key")
    put(authority.sign("b.test"), other)
    pem, keys = [files.certificate, other.certificate], [files.key, other.key]
    before = certificates.load(tree(tmp_path, certificate=pem, key=keys))
    files.certificate.write_bytes(b"")
    put(authority.sign("b.test", "c.test", file="b2"), other)
    after, (new,), (problem,) = certificates.look(before, HOST)
    assert (after.loaded[0] is before.loaded[0], after.loaded[1] is new) == (True, True)
    assert str(files.certificate) in str(problem)


def test_the_authorities_are_looked_at_as_well(authority, tmp_path, files):
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.certificate.read_bytes())
    before = load(tmp_path, files, client_ca=ca, client_certificates="verify")
    assert before.authorities.pem == ca.read_bytes()
    ca.write_bytes(ca.read_bytes() * 2)
    after, _, problems = certificates.look(before, HOST)
    assert (after.authorities.pem, problems) == (ca.read_bytes(), [])
    ca.unlink()
    last, _, (problem,) = certificates.look(after, HOST)
    assert last.authorities == after.authorities
    assert str(problem).startswith(f"tls.client_ca = {ca}: cannot be read")


def test_a_self_signed_one_that_is_lost_is_made_again(tmp_path):
    (tmp_path / "spool").mkdir()
    before = certificates.load(tree(tmp_path))
    before.loaded[0].source.certificate.unlink()
    after, replaced, problems = certificates.look(before, HOST)
    assert (len(replaced), problems, after.self_signed) == (1, [], True)
    assert after.loaded[0].leaf.fingerprint != before.loaded[0].leaf.fingerprint


# --- states ---


def test_the_worst_that_is_true_is_the_state(authority, tmp_path, files):
    found = load(tmp_path, files)
    end, begin = found.loaded[0].leaf.not_after, found.loaded[0].leaf.not_before
    for moment, refused, state in [
        (begin - 1, False, CertificateState.EXPIRED),
        (begin, False, CertificateState.CURRENT),
        (begin, True, CertificateState.REFUSED),
        (end - 21 * 86_400, False, CertificateState.CURRENT),
        (end - 21 * 86_400 + 1, False, CertificateState.EXPIRING),
        (end - 1, True, CertificateState.REFUSED),
        (end, True, CertificateState.EXPIRED),
    ]:
        assert state_of(found, moment, refused=refused) is state, moment


def test_a_short_lifetime_expires_early_in_its_last_third(authority, tmp_path, files):
    put(authority.sign(HOST, days=6, file="short"), files)
    (loaded,) = load(tmp_path, files).loaded
    assert not expires_early(loaded, loaded.leaf.not_after - 2 * 86_400)
    assert expires_early(loaded, loaded.leaf.not_after - 2 * 86_400 + 1)


@given(st.integers(-(2**62), 2**62))
def test_every_time_has_a_date(seconds):
    assert date(seconds)


def test_a_date_is_a_day_of_utc():
    assert date(1_800_000_000) == "2027-01-15"


# --- what check-config says ---


def said(tmp_path, *signed, **tls) -> list[str]:
    settings = tree(tmp_path, certificate=[each.chain for each in signed], key=[each.key for each in signed], **tls)
    return [sentence.replace(str(signed[0].chain) if signed else "?", "PEM") for sentence in examine(settings)]


def test_a_good_certificate_needs_no_word(authority, tmp_path):
    assert said(tmp_path, authority.sign(HOST, file="good")) == []
    assert said(tmp_path, authority.sign("*.example.test", file="wild"), authority.sign("b.test", file="b")) == []


def test_without_one_the_self_signed_one_is_named(tmp_path):
    (sentence,) = said(tmp_path)
    assert sentence.startswith(
        f"tls.certificate is not set: a self-signed certificate is used ({tmp_path}/spool/self-signed.pem)"
    )
    assert not (tmp_path / "spool").exists(), "it changes nothing"
    assert examine(tree(tmp_path, offer=False)) == []


@pytest.mark.parametrize(
    ("kind", "later", "expected"),
    [
        ("p256", 91, r"PEM: the certificate has expired on \d{4}-\d\d-\d\d; renew it"),
        ("p256", -1, r"PEM: the certificate is not valid before \d{4}-\d\d-\d\d; check the clock of this machine"),
        ("p256", 70, r"PEM: the certificate expires in (19|20) days, on \d{4}-\d\d-\d\d; renew it"),
        ("rsa4096", 0, r"PEM: the key is RSA of 4096 bits: each handshake keeps a worker busy for milliseconds; .*"),
        ("ed25519", 0, r"PEM: the key is Ed25519, which many mail servers cannot verify; use ECDSA P-256 or RSA 2048"),
        ("rsa2048", 60, None),
    ],
)
def test_dates_and_kinds_of_keys(authority, tmp_path, monkeypatch, kind, later, expected):
    signed = authority.sign(HOST, kind=kind, file=f"{kind}-{later}")
    moment = clock.wall_ms() + later * 86_400_000
    monkeypatch.setattr(clock, "wall_ms", lambda: moment)
    found = said(tmp_path, signed)
    if expected is None:
        assert found == []
    else:
        (sentence,) = found
        assert re.fullmatch(f"tls.certificate = {expected}", sentence), sentence


def test_a_chain_without_its_ca_or_in_disorder_is_noticed(authority, tmp_path):
    signed = authority.sign(HOST, file="lone")
    both = signed.chain.read_bytes()
    leaf = openssl("x509", "-in", signed.chain)
    signed.chain.write_bytes(leaf)
    (sentence,) = said(tmp_path, signed)
    assert (
        "it contains no certificate of a CA: unless CN=Test CA is a root, peers cannot verify it; name the file"
        in sentence
    )
    signed.chain.write_bytes(leaf + authority.sign("x.test", file="x").chain.read_bytes())
    (sentence,) = said(tmp_path, signed)
    assert "certificate 1 is not signed by certificate 2" in sentence
    signed.chain.write_bytes(both)
    assert said(tmp_path, signed) == []


def test_a_certificate_for_other_hosts_is_noticed(authority, tmp_path):
    (sentence,) = said(tmp_path, authority.sign("a.test", "b.test", file="ab"))
    assert sentence.startswith(
        f"tls.certificate: no certificate is for {HOST}, the hostname (they are for a.test, b.test)"
    )


def test_a_key_that_others_can_read_is_noticed(authority):
    """Unless a directory above keeps them out."""
    with TemporaryDirectory() as scratch:
        place = Path(scratch)
        source = Source(place / "chain.pem", place / "key.pem")
        put(authority.sign(HOST, file="open"), source)
        settings = Settings(hostname=HOST, tls={"certificate": [source.certificate], "key": [source.key]})
        source.key.chmod(0o644)
        assert examine(settings) == [], "the directory is private"
        place.chmod(0o755)
        assert examine(settings) == [f"{source.key}, a private key: every account can read it; chmod o= {source.key}"]
        source.key.chmod(0o640)
        assert examine(settings) == []


def test_check_config_refuses_what_cannot_be_used(authority, tmp_path):
    a, b = authority.sign(HOST, file="a"), authority.sign("b.test", file="b2")
    with pytest.raises(ConfigError, match="the private key does not belong to the certificate"):
        examine(tree(tmp_path, certificate=[a.chain], key=[b.key]))
    with pytest.raises(ConfigError, match="there is no certificate of a CA"):
        examine(tree(tmp_path, certificate=[a.chain], key=[a.key], client_ca=a.key))
