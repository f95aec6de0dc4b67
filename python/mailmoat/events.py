"""Every event of the log: its name, its level, what it means, and its fields with their types. Nothing else names one.

An event with several levels has its usual one here; the call says another where it is needed. A field that is empty is left out of
a line. `reason` is always a word of an enum, to be counted and searched for; `detail` and `error` are free text for people.
Pure values: the calls are held to them, and so is the table in the manual, by tests.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, Self

Level = Literal["debug", "info", "warning", "error"]


class Event(StrEnum):
    """An event; its value is its name in the log. A field without a type is text."""

    level: Level
    meaning: str
    fields: dict[str, str]
    """Type by name: text, number, seconds, flag, list, object, any."""

    def __new__(cls, name: str, level: Level, meaning: str, fields: str) -> Self:
        """Make a member from its line in the table."""
        made = str.__new__(cls, name)
        made._value_ = name
        made.level, made.meaning = level, meaning
        pairs = (field.partition(":") for field in fields.split())
        made.fields = {field: kind or "text" for field, _, kind in pairs}
        return made

    MESSAGE_ACCEPTED = (
        "message-accepted",
        "info",
        "a message is on disk and its client gets 250",
        "session client client_name authenticated tls helo queue_id mail_from recipients:list octets:number origin:object",
    )
    RECIPIENT_REFUSED = (
        "recipient-refused",
        "info",
        "a recipient is refused",
        "session client helo mail_from reply reason detail recipient",
    )
    COMMAND_REFUSED = (
        "command-refused",
        "info",
        "a command, a message or a connection is refused",
        "session client helo mail_from reply reason detail command",
    )
    AUTH_FAILED = (
        "auth-failed",
        "info",
        "an AUTH command failed; `login` is the name that the client gave, cut",
        "session client client_name helo login mechanism reason reply",
    )
    AUTH_BACKEND_FAILED = (
        "auth-backend-failed",
        "error",
        "the backend of `auth` failed, and its client gets 454: please report it unless the backend was stopped",
        "session mechanism error",
    )
    SESSION_ENDED = (
        "session-ended",
        "info",
        "a session is over",
        (
            "session client client_name authenticated mechanism tls server_name resumed:flag certificate verified:flag injected:number helo reason duration:seconds queue_ids:list transactions:list transactions_left_out:number "
            "replies:object refusals:list refusals_left_out:number reasons:list commands:number messages:number "
            "octets:number holds:number held:seconds"
        ),
    )
    DNS_LIST_FAILED = (
        "dns-list-failed",
        "warning",
        "a list in the DNS does not work, and counts for no client until it passes its test",
        "zone reason detail",
    )
    DNS_LIST_IN_FORCE = ("dns-list-in-force", "info", "a list in the DNS works again", "zone")
    TLS_FAILED = (
        "tls-failed",
        "info",
        "a TLS handshake was not done; for `withheld` seconds the client's address is not offered STARTTLS",
        "session client reason detail withheld:number",
    )
    EARLY_TALKER = "early-talker", "info", "a client talked before the greeting", "session client refused:flag"
    CLIENT_REPLACED = (
        "client-replaced",
        "info",
        "a server in front says by XCLIENT who its client is; `login` is the account it names",
        "session front_server client client_name port helo login",
    )
    RECIPIENT_REDIRECTED = (
        "recipient-redirected",
        "info",
        "a recipient is accepted, and its messages go to these addresses: an alias, postmaster, or one that had a tag",
        "session recipient to:list",
    )
    MESSAGE_DROPPED = (
        "message-dropped",
        "warning",
        "these recipients do not get a message although its client got 250",
        "session mail_from recipients:list reason detail",
    )
    MESSAGE_STAMPED = (
        "message-stamped",
        "info",
        "a filter found something and put it into the header field X-Mailmoat-Filter; the message goes on",
        "session reason detail",
    )
    SENDER_CHECKED = (
        "sender-checked",
        "info",
        "the results of Sender ID and SPF for one message, and the reason if they stopped it",
        "session source checks:list reason",
    )
    SENDER_UNCHECKED = (
        "sender-unchecked",
        "info",
        "a message goes on without a result: its source address is unknown, local or private",
        "session client reason",
    )
    STS_POLICY_NOT_FETCHED = (
        "sts-policy-not-fetched",
        "warning",
        "the MTA-STS policy of a domain could not be fetched; `in_force` is the mode of the one from before, `none` without one",
        "domain reason in_force detail",
    )
    STS_POLICY_NOT_KEPT = (
        "sts-policy-not-kept",
        "error",
        "an MTA-STS policy could not be written to the spool directory: only this worker has it, until it ends",
        "domain detail",
    )
    TLS_REPORT_NOT_KEPT = (
        "tls-report-not-kept",
        "error",
        "results of TLS could not be written for reports (RFC 8460); deliveries go on",
        "path detail",
    )
    DELIVERY_ATTEMPT = (
        "delivery-attempt",
        "info",
        "an attempt to deliver a message; `warning` when a recipient failed; `host` is the server by its MX record",
        "queue_id session attempt:number next_hop host tls verified:flag mail_from outcomes:list octets:number duration:seconds next_attempt",
    )
    MESSAGE_EXPIRED = (
        "message-expired",
        "warning",
        "a message is too old and is not tried again; `age` in seconds",
        "queue_id age:number attempts:number recipients:list",
    )
    QUEUE_COMMAND = (
        "queue-command",
        "info",
        "an administrator has changed a message: `command` is hold, release, remove, bounce, redirect or import; `at`, when, if no server had it then",
        "queue_id command detail at",
    )
    RECIPIENT_PASSED_ON = (
        "recipient-passed-on",
        "info",
        "the next hop does not have a recipient, which goes to `ndr.unresolved_next_hop`; `detail` is its reply",
        "queue_id recipient detail",
    )
    BOUNCE_MADE = "bounce-made", "info", "a report about a message", "queue_id about kind to:list recipients:list"
    BOUNCE_SUPPRESSED = (
        "bounce-suppressed",
        "warning",
        "recipients failed and nobody gets a bounce of their own",
        "about reason mail_from recipients:list",
    )
    BOUNCE_HELD = (
        "bounce-held",
        "info",
        "a bounce went to the same address `seconds` too shortly before: the next one names these recipients, too",
        "about mail_from recipients:list seconds:seconds",
    )
    BOUNCE_FLOOD_BEGAN = (
        "bounce-flood-began",
        "warning",
        "more bounces are due than the budgets of `ndr` have room for: somebody sends in the name of others; `withheld` so far",
        "side withheld:number domains:number",
    )
    BOUNCE_FLOOD_ENDED = (
        "bounce-flood-ended",
        "info",
        "the budgets have room again; the figures cover the whole flood",
        "side withheld:number domains:number duration:seconds",
    )
    BOUNCE_TAGS_NOT_READ = (
        "bounce-tags-not-read",
        "error",
        "the keys of bounce address tags cannot be read or replaced: those at hand stay in use",
        "detail",
    )
    BOUNCE_NOT_STORED = "bounce-not-stored", "error", "a bounce is made again later", "about detail"
    REPORT_TEXT_NOT_USED = (
        "report-text-not-used",
        "error",
        "reports have the text that was read before, or the one that is shipped",
        "detail",
    )
    MESSAGE_NOT_STORED = "message-not-stored", "error", "the client gets 452", "session detail"
    MESSAGE_DAMAGED = (
        "message-damaged",
        "error",
        "what is stored of the message has changed; it is held, not sent",
        "queue_id detail",
    )
    MESSAGE_SUSPECTED = (
        "message-suspected",
        "warning",
        "it was in memory when a worker crashed; it is tried alone",
        "queue_id",
    )
    MESSAGE_SET_ASIDE = (
        "message-set-aside",
        "error",
        "it was alone in memory when a worker crashed again; it is held until an operator releases it",
        "queue_id crashes:number",
    )
    MESSAGE_NOT_LOADED = "message-not-loaded", "error", "the message waits in the queue", "queue_id detail"
    NEXT_HOP_OFFERS = (
        "next-hop-offers",
        "info",
        "the next hop offers something else than before; `size` 0: no limit",
        "next_hop eight_bit:flag smtputf8:flag size:number binary:flag",
    )
    NEXT_HOP_NOT_READ = (
        "next-hop-not-read",
        "warning",
        "what the next hop offered cannot be read from the spool directory and is learned anew",
        "path detail",
    )
    NEXT_HOP_NOT_KEPT = (
        "next-hop-not-kept",
        "warning",
        "what the next hop offers cannot be written to the spool directory",
        "path detail",
    )
    NEXT_HOP_NOT_SECURE = (
        "next-hop-not-secure",
        "error",
        "messages wait for TLS or authentication at the next hop; once for each detail",
        "next_hop reason detail",
    )
    NEXT_HOP_IN_CLEAR = "next-hop-in-clear", "warning", "TLS failed; in clear for an hour", "next_hop peer detail"
    SOURCE_BLOCKED = (
        "source-blocked",
        "warning",
        "the reputation of a source is bad: its mail is refused for `seconds`; `evidence` has how much of what was seen, decayed",
        "source reputation:number seconds:number evidence:object",
    )
    HARVEST_BEGAN = (
        "harvest-began",
        "warning",
        "recipients are guessed by a source, a net of sources, or many at one domain; `hit_share`: of the guesses that exist",
        "scope source domain sources:number guesses:number found:number hit_share:number",
    )
    HARVEST_ENDED = (
        "harvest-ended",
        "info",
        "a harvest attack is over; the figures cover the whole attack",
        "scope source domain sources:number guesses:number found:number hit_share:number duration:seconds",
    )
    REPUTATION_NOT_READ = (
        "reputation-not-read",
        "warning",
        "the saved records of sources cannot be used: they are made anew",
        "path detail",
    )
    REPUTATION_NOT_KEPT = (
        "reputation-not-kept",
        "warning",
        "the records of sources cannot be saved; tried again a minute later",
        "path detail",
    )
    STARTED = "started", "info", "the server has started", "pid:number workers:number"
    SERVING = "serving", "info", "all workers accept connections", "listen:list"
    STOPPING = "stopping", "info", "the server was asked to end", ""
    STOPPED = "stopped", "info", "the server has ended", "status:number"
    START_REFUSED = "start-refused", "error", "why the server does not start", "detail"
    GAVE_UP = "gave-up", "error", "no worker could be started", "detail"
    RUNNING_AS_ROOT = "running-as-root", "warning", "no account to run as is set", "detail"
    USER_IGNORED = "user-ignored", "warning", "`user` has no effect", "user detail"
    LISTEN_SKIPPED = "listen-skipped", "warning", "nothing listens at this address", "address detail"
    RELOAD_STARTED = (
        "reload-started",
        "info",
        "new processes are started with new settings",
        "generation:number workers:number",
    )
    FILES_REREAD = (
        "files-reread",
        "info",
        "a reload found no other settings: the files that they name were read again",
        "generation:number workers:number",
    )
    RELOADED = "reloaded", "info", "the new settings are in force", "generation:number workers:number"
    RELOAD_REFUSED = "reload-refused", "error", "the old settings stay in force", "detail"
    SETTING_KEPT = "setting-kept", "warning", "a change of this setting needs a restart", "key value:any detail"
    WORKERS_CAPPED = (
        "workers-capped",
        "warning",
        "so many workers need a restart",
        "wanted:number workers:number detail",
    )
    PROCESS_STARTED = (
        "process-started",
        "info",
        "a process was started",
        "process pid:number slot:number generation:number",
    )
    PROCESS_READY = "process-ready", "info", "a process does its work", "process pid:number"
    PROCESS_ENDED = (
        "process-ended",
        "info",
        "a process ended; `warning` if unexpected",
        "process pid:number status",
    )
    PROCESS_RESTART = (
        "process-restart",
        "warning",
        "a process is replaced after `wait` seconds",
        "process failures:number wait:seconds",
    )
    PROCESS_KILLED = "process-killed", "warning", "a process was too slow", "process pid:number detail"
    PROCESS_FAILED = "process-failed", "error", "a process cannot go on", "process pid:number error"
    DRAINING = "draining", "info", "a worker accepts no more and finishes its work", "slot:number connections:number"
    DIRECTORY_COMPILED = "directory-compiled", "info", "the recipient file is in force", "source entries:number"
    DIRECTORY_REFUSED = "directory-refused", "error", "why the recipient file is not in force", "detail"
    DIRECTORY_WAITS = (
        "directory-waits",
        "warning",
        "the recipient file may be unfinished and is read after `quiet` seconds without a change",
        "source detail quiet:seconds",
    )
    CALLOUT_INCONCLUSIVE = (
        "callout-inconclusive",
        "warning",
        "a next hop accepts every address of a domain, refuses messages for addresses that it has accepted, refuses all that it accepted before, or refuses postmaster before it has accepted any: its answers mean nothing",
        "source domain next_hop reason",
    )
    CALLOUT_CONCLUSIVE = (
        "callout-conclusive",
        "info",
        "a next hop refuses an address that cannot exist again, or accepts one that exists",
        "source domain next_hop",
    )
    DIRECTORY_ENTRY_IDLE = "directory-entry-idle", "warning", "an entry of the recipient file has no effect", "detail"
    DIRECTORY_READ = (
        "directory-read",
        "info",
        "a source of recipients was read whole and is in force; `before` is how many entries it had",
        "source entries:number before:number seconds:seconds",
    )
    DIRECTORY_CHANGED = (
        "directory-changed",
        "info",
        "entries of a source of recipients changed or were removed; `entries` is how many it has now",
        "source changed:number removed:number entries:number",
    )
    DIRECTORY_TIGHTENED = (
        "directory-tightened",
        "info",
        "entries of a source of recipients changed or were removed, as a row that was changed permits less; `entries` is how many it has now",
        "source changed:number removed:number entries:number",
    )
    DIRECTORY_SOURCE_FAILED = (
        "directory-source-failed",
        "error",
        "a source of recipients cannot be read (`failed`) or lost too many entries (`shrunk`); what is known of it, `age` old, stays in force",
        "source reason detail age:seconds",
    )
    DIRECTORY_SOURCE_BACK = (
        "directory-source-back",
        "info",
        "a source of recipients can be used again",
        "source server",
    )
    DIRECTORY_SOURCE_BROKEN = (
        "directory-source-broken",
        "error",
        "reading a source of recipients raised an unexpected error: please report it",
        "source error",
    )
    DIRECTORY_SOURCE_STALE = (
        "directory-source-stale",
        "error",
        "what is known of a source of recipients is older than `max_age`: what is not found is unknown, or accepted, by `when_stale`",
        "source detail age:seconds",
    )
    DIRECTORY_DISK_FAILED = (
        "directory-disk-failed",
        "error",
        "the directory process cannot write how fresh its sources are",
        "detail",
    )
    DIRECTORY_LEFT_OUT = (
        "directory-left-out",
        "warning",
        "entries, addresses or targets of a source do not count and are left out; `detail` says why of one of them",
        "source entries:number detail",
    )
    DIRECTORY_REMARK = (
        "directory-remark",
        "warning",
        "something about a source of recipients that the administrator should look at, once for each sentence",
        "source detail",
    )
    SENDER_FILE_COMPILED = (
        "sender-file-compiled",
        "info",
        "the file of blocked senders is in force",
        "source entries:number",
    )
    SENDER_FILE_REFUSED = (
        "sender-file-refused",
        "error",
        "why the file of blocked senders is not in force; what was stays",
        "detail",
    )
    SENDER_FILE_WAITS = (
        "sender-file-waits",
        "warning",
        "the file of blocked senders may be unfinished and is read after `quiet` seconds without a change",
        "source detail quiet:seconds",
    )
    ACCOUNTS_READ = "accounts-read", "info", "the accounts of `auth.file` are in force", "source accounts:number"
    ACCOUNTS_REFUSED = "accounts-refused", "error", "why `auth.file` is not in force; what was stays", "detail"
    SENDERS_REFUSED = (
        "senders-refused",
        "error",
        "why `auth.senders` is not in force; what was stays, and without any who has authenticated gets 451",
        "detail",
    )
    SENDERS_WAIT = (
        "senders-wait",
        "warning",
        "`auth.senders` may not be finished: it is read when it has not changed for `quiet` seconds",
        "source detail quiet:seconds",
    )
    ACCOUNTS_WAIT = (
        "accounts-wait",
        "warning",
        "`auth.file` may not be finished: it is read when it has not changed for `quiet` seconds",
        "source detail quiet:seconds",
    )
    AUTH_SUSPENDED = (
        "auth-suspended",
        "warning",
        "the address of `client` has reached `limits.auth_failure_rate`: nobody is authenticated from there for a while",
        "session client",
    )
    ACCOUNTS_EXPOSED = "accounts-exposed", "warning", "others can read or change `auth.file`", "source detail"
    AUTH_SERVICE_READY = (
        "auth-service-ready",
        "info",
        "there is a connection to `auth.dovecot`, with these mechanisms",
        "path mechanisms:list",
    )
    AUTH_SERVICE_LOST = "auth-service-lost", "warning", "there is no connection to `auth.dovecot`", "path detail"
    LISTS_COMPILED = "lists-compiled", "info", "the lists of clients have changed", "blocked:number allowed:number"
    LISTS_WAIT = (
        "lists-wait",
        "warning",
        "a file of `[lists]` may not be finished: it is read once it has not changed for `quiet` seconds",
        "source detail quiet:seconds",
    )
    LISTS_REFUSED = (
        "lists-refused",
        "error",
        "a file of the lists cannot be used: what it said before stays in force",
        "detail",
    )
    PARTITION_ADOPTED = (
        "partition-adopted",
        "info",
        "a worker delivers the messages of one that is gone",
        "partition messages:number",
    )
    PARTITION_NOT_ADOPTED = (
        "partition-not-adopted",
        "error",
        "messages that no worker delivers",
        "detail messages:number",
    )
    PARTITION_NOT_CLOSED = "partition-not-closed", "error", "a partition could not be removed", "partition detail"
    CONTROL_FAILED = "control-failed", "error", "a worker has no control socket: commands cannot reach it", "detail"
    SPOOL_UNHEALTHY = "spool-unhealthy", "error", "a worker cannot store messages", "partition detail"
    SPOOL_HEALTHY = "spool-healthy", "info", "it can store messages again", "partition"
    CERTIFICATE_MADE = (
        "certificate-made",
        "info",
        "a self-signed certificate is written, since `tls.certificate` is not set",
        "path names:list days:number",
    )
    CERTIFICATE_REPLACED = (
        "certificate-replaced",
        "info",
        "a worker serves another certificate, whose file has changed; `days` until it expires",
        "path names:list days:number fingerprint pid:number",
    )
    CERTIFICATE_REFUSED = (
        "certificate-refused",
        "error",
        "a certificate file has changed and cannot be used: the old certificate stays in force",
        "detail pid:number",
    )
    ACCEPT_PAUSED = (
        "accept-paused",
        "warning",
        "too few file descriptors: connections wait in the kernel",
        "connections:number limit:number detail",
    )
    STRESS_BEGAN = (
        "stress-began",
        "warning",
        "a worker has nearly as many connections as its limit, or the host as `limits.connections`: idle ones are closed",
        "connections:number limit:number",
    )
    STRESS_ENDED = "stress-ended", "info", "there is room for connections again", "connections:number limit:number"
    PRESSURE_CHANGED = (
        "pressure-changed",
        "warning",
        "a resource is shorter, or less short (`info`), than before; `pressure` and `before` are normal, medium or high, `threshold` in the unit of its setting",
        "slot:number resource pressure before reading:number threshold:number detail",
    )
    PROXY_REFUSED = "proxy-refused", "warning", "a host that may not use the PROXY protocol connected", "client"
    PROXY_MALFORMED = "proxy-malformed", "warning", "a PROXY header that is none", "client detail"
    NAME_SERVERS_CHANGED = "name-servers-changed", "info", "`/etc/resolv.conf` names other servers", "file servers:list"
    NAME_SERVERS_KEPT = (
        "name-servers-kept",
        "warning",
        "`/etc/resolv.conf` names no server any more: the old ones stay in use",
        "file detail servers:list",
    )
    LOG_LINES_LOST = (
        "log-lines-lost",
        "warning",
        "the reader of the log is too slow: `lines_lost` lines of this process are lost so far",
        "lines_lost:number",
    )
    SPF_CHECK_FAILED = (
        "spf-check-failed",
        "error",
        "a record caused an unexpected error in the check: please report it; the result is PermError",
        "domain ip error",
    )
    AGENT_FAILED = (
        "agent-failed",
        "error",
        "an agent failed and its client gets 451; if the agent is ours, please report it",
        "agent session stage error raised_by:list",
    )
    AGENT_TIMED_OUT = (
        "agent-timed-out",
        "error",
        "an agent did not answer within `policy.agent_time` and its client gets 451",
        "agent session seconds:seconds",
    )
    SESSION_FAILED = (
        "session-failed",
        "error",
        "a fault in mailmoat: please report it; the client gets 421",
        "session client error",
    )
    DELIVERY_NOT_BEGUN = (
        "delivery-not-begun",
        "error",
        "a fault in mailmoat: please report it; the message is delivered after a restart",
        "queue_id error",
    )
    WAITER_FAILED = "waiter-failed", "error", "a fault in mailmoat: please report it", "error"
    DEADLINE_FAILED = "deadline-failed", "error", "a fault in mailmoat: please report it", "error pid:number"
    LOOP_FAILED = "loop-failed", "error", "a fault in mailmoat: please report it", "what error pid:number"
