"""Reads a transcript (*.smtp), plays it against a virtual.World and compares. The form is described in test_transcripts.py."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from functools import cache

import virtual
from tests.doubles.authenticator import FakeAuthenticator

from mailmoat import _native
from mailmoat import settings as tree
from mailmoat.limits.pressure import Level
from mailmoat.settings.listener import parse_listener

UNSCREENED = "all agents asked"
WAYS = ("whole", "by line", "by byte", UNSCREENED)
DEFAULTS = {
    "hostname": "mx.example.test",
    "relay.local_domains": "example.test",
    "dns.reverse_time": "0",
    "tls.offer": "off",
}
KNOWN = ("alice@example.test", "bob@example.test", "localuser@example.test")
SLACK_MS = 8  # a deadline is rounded up to the next millisecond, each time
ESCAPE = re.compile(rb"\\(x[0-9a-f]{2}|[rnt0\\])|\{((?:[^{}\\]|\\.)+?)\*([0-9]+)\}")
SIMPLE = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}
LINE = re.compile(r"(?P<who>[CS])(?P<form>[:>!|]|\+(?P<after>[0-9.]+)s:|\*(?P<times>[0-9]+):) ?(?P<text>.*)")


class TranscriptError(ValueError):
    """The transcript itself is wrong."""


def octets(text):
    """What a client line means."""

    def mean(found):
        escape, repeated, times = found.groups()
        if repeated is not None:
            return ESCAPE.sub(mean, repeated) * int(times)
        return bytes([int(escape[1:], 16)]) if escape.startswith(b"x") else SIMPLE[escape]

    return ESCAPE.sub(mean, text.encode())


@cache
def load_settings(pairs):
    return tree.load(environment={"MAILMOAT_" + key.replace(".", "__").upper(): value for key, value in pairs})


@dataclass
class Transcript:
    """A file, read."""

    settings: dict[str, str] = field(default_factory=lambda: dict(DEFAULTS))
    agents: list = field(default_factory=list)
    known: list[str] = field(default_factory=lambda: list(KNOWN))
    aliases: dict[str, list[str]] = field(default_factory=dict)
    peer: str = "192.0.2.1"
    listener: str = "192.0.2.25:25"
    others: int = 0
    binary: bool = False
    seen: list[tuple[str, int]] = field(default_factory=list)
    auth: str = ""
    senders: list[str] = field(default_factory=list)
    tag_key: str = ""
    listed: list[tuple[str, str]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    @property
    def shows_content(self):
        return any(line.startswith("S|") for line in self.lines)

    @property
    def shows_parameters(self):
        return any(line.startswith(("S: (with", "S: (for")) for line in self.lines)


def read(text):
    """The transcript in `text`."""
    transcript = Transcript()
    for number, line in enumerate(text.splitlines(), 1):
        word, _, rest = line.partition(" ")
        if not line.strip() or word.startswith("#"):
            continue
        if word == "config":
            key, _, value = rest.partition("=")
            transcript.settings[key] = value
        elif word == "agent":
            stage, _, does = rest.partition(" ")
            only = ""
            if does.startswith("if "):
                _, only, does = does.split(" ", 2)
            transcript.agents.append((stage, only, does))
        elif word == "known":
            transcript.known += octets(rest).decode().split()
        elif word == "alias":
            alias, _, targets = rest.partition(" = ")
            transcript.aliases[alias] = targets.split(", ")
        elif word == "dns":
            transcript.names.append(rest)
        elif word == "peer":
            transcript.peer = rest
        elif word == "others":
            transcript.others = int(rest)
        elif word == "binary":
            transcript.binary = True
        elif word == "seen":
            evidence, _, times = rest.partition(" ")
            transcript.seen.append((evidence, int(times)))
        elif word == "auth":
            transcript.auth = rest
        elif word == "listener":
            transcript.listener = rest
        elif word == "senders":
            transcript.senders.append(rest)
        elif word == "tags":
            transcript.tag_key = rest
        elif word in ("block", "allow"):
            transcript.listed.append((word, rest))
        elif LINE.fullmatch(line) or word in ("@", "!"):
            transcript.lines.append(line)
        else:
            raise TranscriptError(f"line {number}: {line}")
    return transcript


def compile_lists(spool_dir, listed):
    """Compile the lines of lists to where the server looks for them."""
    directory = spool_dir / "lists"
    directory.mkdir(exist_ok=True)
    for name in ("block", "allow"):
        (directory / name).write_text("".join(f"{line}\n" for which, line in listed if which == name))
    sources = [(str(directory / name), name == "allow", False, True) for name in ("block", "allow")]
    _native.compile_lists(str(directory / "lists.snapshot"), sources, 0)


def publish(resolver, line):
    """What a line about the domain name system says to the resolver."""
    name, kind, value = line.split(" ", 2) if line.count(" ") > 1 else (*line.split(" "), "")
    if kind == "takes":
        resolver.set(name, delay=float(value.rstrip("s")))
    elif kind == "fails":
        resolver.set(name, fault="servfail")
    else:
        resolver.add(name, kind, value)


class Player:
    """Plays one transcript one way; `actual` is the transcript as it was."""

    def __init__(self, transcript, incoming_dir, way):
        self._way = way
        self._shows_content = transcript.shows_content
        self._shows_parameters = transcript.shows_parameters
        self._group = b""
        self._seen = 0
        self.actual = []
        settings = dict(transcript.settings)
        if transcript.senders:
            settings["auth.senders"] = str(incoming_dir / "senders")
            (incoming_dir / "senders").write_text("\n".join(transcript.senders))
        if transcript.listed:
            compile_lists(incoming_dir, transcript.listed)
            settings["spool_dir"] = str(incoming_dir)
        if transcript.tag_key:
            (incoming_dir / "bounce-tags.key").write_text(f"{transcript.tag_key} {'00' * 32}\n")
            settings["spool_dir"] = str(incoming_dir)
        self.world = world = virtual.World(
            load_settings(tuple(sorted(settings.items()))),
            incoming_dir,
            known=transcript.known,
            aliases=transcript.aliases,
            agent_lines=transcript.agents,
            peer=transcript.peer,
            listener=parse_listener(transcript.listener),
            others=transcript.others,
            binary=transcript.binary,
            authenticator=FakeAuthenticator(in_clear=transcript.auth == "in clear") if transcript.auth else None,
            seen=transcript.seen,
            screened=way != UNSCREENED,
        )
        for line in transcript.names:
            publish(world.resolver, line)
        self._base_ms = world.loop.now_ms
        with world.running():
            self._collect()
            for line in transcript.lines:
                self._play(line)
            self._send()
            world.end()
            self._collect()

    def _play(self, line):
        found = LINE.fullmatch(line)
        if found and found["who"] == "C" and found["form"] != "!":
            self.actual.append(line)
            times = int(found["times"] or 1)
            for n in range(1, times + 1):
                text = found["text"].replace("{n}", str(n)) if times > 1 else found["text"]
                self._group += octets(text) + (b"" if found["form"] == ">" else b"\r\n")
            return
        self._send()
        loop = self.world.loop
        if found and found["who"] == "S":
            if found["after"]:
                loop.advance(self._base_ms + round(float(found["after"]) * 1000) + SLACK_MS)
        elif line.startswith("@"):
            self.actual.append(line)
            loop.advance(loop.now_ms + round(float(line.strip("@ +s")) * 1000))
        else:
            self.actual.append(line)
            self._base_ms = loop.now_ms
            self._act(found["text"] if found else line[2:])
            loop.settle()
        self._collect()

    def _send(self):
        if not self._group:
            return
        group, self._group = self._group, b""
        self._base_ms = self.world.loop.now_ms
        if self._way in ("whole", UNSCREENED):
            pieces = [group]
        elif self._way == "by line":
            pieces = group.splitlines(keepends=True) if b"\r" not in group else re.findall(rb"[^\n]*\n|[^\n]+", group)
        else:
            pieces = [group[at : at + 1] for at in range(len(group))]
        for piece in pieces:
            self.world.send(piece)
        self._collect()

    def _act(self, text):
        world, transport = self.world, self.world.transport
        acts = {
            "vanishes": transport.vanish,
            "ends input": transport.end_input,
            "stops reading": transport.stop_reading,
            "reads again": transport.read_again,
            "directory down": lambda: world.set_directory(down=True),
            "directory up": lambda: world.set_directory(down=False),
            "pressure medium": lambda: world.press(Level.MEDIUM),
            "pressure high": lambda: world.press(Level.HIGH),
            "pressure normal": lambda: world.press(Level.NORMAL),
            "disk full": lambda: setattr(world.store, "trouble", "No space left on device"),
            "disk ok": lambda: setattr(world.store, "trouble", None),
            "TLS": world.start_tls,
            "closes TLS": lambda: world.tls.close(),  # noqa: PLW0108 - it is made later
            "shutdown": lambda: world.connection.drain(at_once=False),
            "shutdown at once": lambda: world.connection.drain(at_once=True),
            "evict": world.held._evict,
        }
        if text.startswith("disk ") and text.endswith("s"):
            world.store.seconds = float(text[5:-1])
        elif text in acts:
            acts[text]()
        else:
            raise TranscriptError(text)

    def _collect(self):
        for at_ms, line in self.world.said[self._seen :]:
            if line.startswith("| "):
                if self._shows_content:
                    self.actual.append("S" + line.rstrip())
                continue
            if line.startswith(("(with", "(for")) and not self._shows_parameters:
                continue
            self.actual.append(f"S{stamp((at_ms - self._base_ms) / 1000)}: {line}")
        self._seen = len(self.world.said)


def stamp(seconds):
    """How a line shows the time since the peer's last act: nothing, or `+5.0s`; rounded down, so that early is seen as early."""
    hundredths = int(seconds * 100 + 1e-6)
    if not hundredths:
        return ""
    text = f"{hundredths / 100:.2f}"
    return f"+{text.removesuffix('0')}s"


def expected(lines):
    """The lines with repetitions written out and times in their one form."""
    for line in lines:
        found = LINE.fullmatch(line)
        if found and found["who"] == "S" and found["times"]:
            for n in range(1, int(found["times"]) + 1):
                yield f"S: {found['text'].replace('{n}', str(n))}"
        elif found and found["after"]:
            yield f"S{stamp(float(found['after']))}: {found['text']}"
        else:
            yield line.rstrip() if line.startswith("S|") else line


def matches(pattern, line):
    """Is this what was expected? `...` at the end stands for anything."""
    return line.startswith(pattern[:-3]) if pattern.endswith("...") else line == pattern


def align(patterns, actual):
    """The actual lines, those that are as expected written as the pattern is; `250-...` stands for several lines."""
    aligned, at = [], 0
    for line in actual:
        if aligned and aligned[-1].endswith("-...") and matches(aligned[-1], line):
            continue
        ahead = next((i for i in range(at, len(patterns)) if matches(patterns[i], line)), None)
        if ahead is None:
            aligned.append(line)
        else:
            aligned.append(patterns[ahead])
            at = ahead + 1
    return aligned


def play(text, incoming_dir, ways=WAYS):
    """None, or a unified diff of what came against what the transcript says, in the first way that differs."""
    transcript = read(text)
    patterns = list(expected(transcript.lines))
    first = None
    for way in ways:
        actual = Player(transcript, incoming_dir, way).actual
        diff = list(difflib.unified_diff(patterns, align(patterns, actual), "transcript", f"played {way}", lineterm=""))
        if diff:
            return "\n".join(diff)
        if first is not None and actual != first:
            return "\n".join(difflib.unified_diff(first, actual, ways[0], way, lineterm=""))
        first = actual
    return None
