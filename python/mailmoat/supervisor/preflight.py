"""What the machine must have for these settings: the account, the spool directory, files the account can read, a next hop beyond it.

`check` and `warnings` change nothing; the supervisor asks `check` before it starts, `check-config` both at any time. `own_directory` makes
the spool directory. Both see the files as the account will, where they may: as root they become it for the moment.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mailmoat import files
from mailmoat.auth import checks
from mailmoat.auth.composition import SECRET_NAME
from mailmoat.bounce_tags import key_file
from mailmoat.callout.opening import mistakes as callout_mistakes
from mailmoat.delivery import route_lint
from mailmoat.delivery.account import AccountError, account_of
from mailmoat.delivery.handshake import Handshakes
from mailmoat.delivery.offers import FILE_NAMES as OFFERS_NAMES
from mailmoat.delivery.route import route_table
from mailmoat.delivery.tls_policy import TlsLevel, tls_policy
from mailmoat.delivery.tls_reports import DIRECTORY as REPORTS
from mailmoat.directory.snapshot import SNAPSHOT_NAME
from mailmoat.errors import ConfigError
from mailmoat.mta_sts.cache import DIRECTORY as POLICIES
from mailmoat.policy.sender_file import SENDERS_SNAPSHOT
from mailmoat.supervisor import directory_checks, instance, own_address, privileges
from mailmoat.tls.certificate_file import CertificateError
from mailmoat.tls.findings import examine as examine_certificates
from mailmoat.tls.self_signed import FILE_NAME as CERTIFICATE_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mailmoat.delivery.route import Route
    from mailmoat.settings import Settings
    from mailmoat.supervisor.privileges import Account

OURS: Final = (
    instance.LOCK_NAME, instance.STATE_NAME, SNAPSHOT_NAME, f"{SNAPSHOT_NAME}.*.base", SENDERS_SNAPSHOT, OFFERS_NAMES,
    SECRET_NAME, CERTIFICATE_NAME, key_file.NAME, key_file.LOCK_NAME, POLICIES, f"{POLICIES}/*", REPORTS, f"{REPORTS}/*",
    "directory", "directory/*", "lists", "lists/*", "damaged", "partitions", "partitions/*", "partitions/*/*",
)  # fmt: skip
"""What a server makes below its spool directory."""


def check(settings: Settings) -> None:
    """Raise ConfigError with one sentence for each thing that is missing or wrong, naming the setting and the fix."""
    if found := [*own_address.loops(settings), *_mistakes(settings)]:
        raise ConfigError(found)


def _mistakes(settings: Settings) -> list[str]:
    account = None
    if settings.user is not None:
        try:
            account = privileges.find(settings.user)
        except LookupError:
            return [f"user = {settings.user}: there is no such account; create it or name another"]
    if account is not None and not _can_act_as(account):
        return []
    made_by_root_for = account if os.geteuid() == 0 else None
    checks.load(settings)
    with acting_as(account):
        spool, files = (
            list(_spool(settings.spool_dir, made_by_root_for)),
            unusable_files(settings),
        )
    if not spool:  # as root again: the account may not be able to enter a directory of root
        spool = list(_contents(settings.spool_dir, account.uid if account else os.geteuid()))
    return [*spool, *files]


def unusable_files(settings: Settings) -> list[str]:
    """Return one sentence for each file beside the certificates that this process cannot use."""
    return [
        *_lists(settings),
        *_next_hop(settings),
        *_bounce_tags(settings),
        *checks.mistakes(settings),
        *callout_mistakes(settings),
        *directory_checks.mistakes(settings),
    ]


def _bounce_tags(settings: Settings) -> list[str]:
    if settings.bounce_tags.mode == "off":
        return []
    try:
        key_file.read(settings.spool_dir / key_file.NAME)
    except ConfigError as error:
        return error.mistakes
    except OSError as error:
        return [f"{error.filename}: cannot be read: {error.strerror}; let the account of the server read it"]
    return []


def warnings(settings: Settings) -> list[str]:
    """Yield one sentence for each thing that does no harm yet. LookupError if there is no such account, which `check` reports."""
    account = privileges.find(settings.user) if settings.user else None
    if account is not None and not _can_act_as(account):
        return [f"what {account.name} may read and write was not checked: run this as root or as {account.name}"]
    with acting_as(account):
        exposed = [*_exposed(settings), *directory_checks.exposed(settings)]
        return [*route_lint.warnings(settings), *_unreadable(settings), *exposed, *checks.warnings(settings)]


def certificates(settings: Settings) -> list[str]:
    """Return one sentence for each thing about the certificates that is valid but unwise. ConfigError for what cannot be used."""
    try:
        account = privileges.find(settings.user) if settings.user else None
    except LookupError:  # `check` says so, and nothing can be seen with its rights
        return []
    if account is not None and not _can_act_as(account):
        return []
    with acting_as(account):
        return examine_certificates(settings)


def _unreadable(settings: Settings) -> Iterator[str]:
    who = _name(os.geteuid())
    if settings.file is not None and _kept_from_us(settings.file):
        yield f"{settings.file}: {who} cannot read it, so a reload will fail; let that account read it"
    for part, file in (("Python", Path(os.__file__)), ("mailmoat", Path(__file__))):
        if _kept_from_us(file):
            yield f"{part} in {file.parent}: {who} cannot read it, so processes will fail; install it where that account can read it"


def _can_act_as(account: Account) -> bool:
    return os.geteuid() in {0, account.uid}


def own_directory(path: Path, owner: Account | None) -> None:
    """Make the directory if it is missing, for nobody else's eyes, and give it to `owner`. OSError when that cannot be."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if owner is not None:
        os.chown(path, owner.uid, owner.gid, follow_symlinks=False)


@contextmanager
def acting_as(account: Account | None) -> Iterator[None]:
    """See files with the rights of `account`, for the moment; None: as we are. Only root can become another, with one thread."""
    if account is None or account.uid == os.geteuid():
        yield
        return
    uid, gid, groups = os.geteuid(), os.getegid(), os.getgroups()
    os.setgroups(os.getgrouplist(account.name, account.gid))
    os.setegid(account.gid)
    os.seteuid(account.uid)
    try:
        yield
    finally:
        os.seteuid(uid)
        os.setegid(gid)
        os.setgroups(groups)


def _spool(path: Path, account: Account | None) -> Iterator[str]:
    where, uid = f"spool_dir = {path}", account.uid if account else os.geteuid()
    try:
        status = path.lstat()
    except FileNotFoundError:
        if account is None:  # with `user`, root makes it
            yield from _parent(where, path)
        return
    except OSError as error:
        yield f"{where}: cannot be checked: {error.strerror}; give {_name(uid)} access, or name another directory"
        return
    if stat.S_ISLNK(status.st_mode):
        yield f"{where}: is a link, which another account could change; name the directory itself: {path.resolve()}"
    elif not stat.S_ISDIR(status.st_mode):
        yield f"{where}: is not a directory; remove it or name another"
    elif status.st_mode & stat.S_IWOTH:
        shared = status.st_mode & stat.S_ISVTX  # as /tmp is: other programs need it as it is
        fix = f"name a directory of its own, such as {path / 'mailmoat'}" if shared else f"chmod 700 {path}"
        yield f"{where}: every account can write to it (mode {stat.S_IMODE(status.st_mode):04o}); {fix}"
    elif os.statvfs(path).f_flag & os.ST_RDONLY:
        yield f"{where}: {os.strerror(errno.EROFS)}; mount it for writing, or name another directory"
    elif not account and not os.access(path, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        yield f"{where}: {_name(uid)} cannot write to it; chown {_name(uid)} {path}"


def _parent(where: str, path: Path) -> Iterator[str]:
    """Yield why a missing directory could not be created."""
    above = next((parent for parent in path.parents if parent.exists()), Path("/"))
    if not above.is_dir():
        yield f"{where}: cannot be created: {above} is not a directory; name another directory"
    elif os.statvfs(above).f_flag & os.ST_RDONLY:
        yield f"{where}: cannot be created: {os.strerror(errno.EROFS)}; name another directory"
    elif not os.access(above, os.W_OK | os.X_OK, effective_ids=True):
        who = _name(os.geteuid())
        yield f"{where}: cannot be created: {who} cannot write to {above}; create it as root and chown {who} {path}"


def _contents(path: Path, uid: int) -> Iterator[str]:
    """Yield the files of other accounts there, for example of root before `user` was set: they could be neither read nor removed."""
    for entry in _entries(path) if uid else ():  # root can do all
        owner = entry.lstat().st_uid
        if owner != uid:
            yield (
                f"spool_dir = {path}: {entry} belongs to {_name(owner)}, and the server runs as {_name(uid)}; "
                f"stop the server and chown -R {_name(uid)} {path}"
            )
            return


def _entries(path: Path) -> Iterable[Path]:
    """Return the entries that are ours; on a separate disk root's `lost+found` is there as well."""
    return (entry for name in OURS for entry in path.glob(name))


def _lists(settings: Settings) -> Iterator[str]:
    """Yield a sentence for each list that the account cannot read, which is read without root."""
    lists = {
        "recipients.file": settings.recipients.file,
        "sender_filter.blocked_file": settings.sender_filter.blocked_file,
    }
    for key, file in lists.items():
        if file is not None and _kept_from_us(file):
            who = _name(os.geteuid())
            yield f"{key} = {file}: {who} cannot read it; let that account read it and enter its directories"


def _next_hop(settings: Settings) -> Iterator[str]:
    """Yield a sentence for what the connections to the next hops need and cannot have: password, certificate, CAs."""
    for key, route in _routes(settings):
        ours, hop = route.settings, route.next_hop
        try:
            if (account := account_of(ours)) is not None:
                account.credentials()
        except AccountError as error:
            yield f"{key}.auth_password_file = {ours.auth_password_file}: {error}; write the password alone into that file"
        try:
            for server in hop.servers if hop is not None else ():
                if (policy := tls_policy(server, ours)).level is not TlsLevel.NONE:
                    Handshakes(policy).prepare()
                    break  # the files are those of the route
        except CertificateError as error:
            yield str(error).replace("delivery.", f"{key}.")


def _routes(settings: Settings) -> Iterator[tuple[str, Route]]:
    """Yield each route with the key of its settings."""
    table = route_table(settings)
    yield "delivery", table.default
    for number, route in enumerate(table.routes, 1):
        yield f"routes[{number}]", route


def _exposed(settings: Settings) -> Iterator[str]:
    """Yield a sentence for a file with a secret that every account can read."""
    routes = [route.settings for _, route in _routes(settings)]
    for file in dict.fromkeys(file for route in routes for file in (route.auth_password_file, route.tls_key)):
        if file is not None and (problem := files.exposed(file)):
            yield f"{file}: {problem}"


def _kept_from_us(file: Path) -> bool:
    """Return a file that the account cannot read, if it exists."""
    try:
        file.stat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return not os.access(file, os.R_OK, effective_ids=True)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
