"""The DNS resolver: answers as values, a cache, and limits on the queries per message."""

from mailmoat.resolver.answer import Answer, Failed, Failure, Found, Kind, NoData, NoName, Record
from mailmoat.resolver.protocol import Budget, Resolver

__all__ = ["Answer", "Budget", "Failed", "Failure", "Found", "Kind", "NoData", "NoName", "Record", "Resolver"]
