"""A resolver that knows every answer at once: what it does not know does not exist."""

from __future__ import annotations

from mailmoat.resolver import Answer, Budget, Failed, Failure, Found, Kind, NoData, NoName


class Zones:
    def __init__(self, **kinds: object) -> None:
        self.answers: dict[tuple[str, str], Answer] = {}
        self.asked: list[tuple[str, str]] = []

    def txt(self, name: str, *records: str | bytes) -> Zones:
        return self.put(name, "TXT", *(record.encode() if isinstance(record, str) else record for record in records))

    def put(self, name: str, kind: Kind, *records: object) -> Zones:
        self.answers[name, kind] = Found(records, 300.0)
        return self

    def fail(self, name: str, kind: Kind, reason: Failure = Failure.TIMEOUT) -> Zones:
        self.answers[name, kind] = Failed(reason)
        return self

    def cached(self, name: str, kind: Kind) -> Answer | None:
        self.asked.append((name, kind))
        if not all(0 < len(label) < 64 for label in name.split(".")):
            return Failed(Failure.MALFORMED)
        missing = NoData(60.0) if any(known == name for known, _ in self.answers) else NoName(60.0)
        return self.answers.get((name, kind), missing)

    async def query(self, name: str, kind: Kind, budget: Budget) -> Answer:
        raise AssertionError("everything is known")

    async def close(self) -> None:
        pass
