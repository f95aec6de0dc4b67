"""The domain name system: answers as values, kept as long as they may be, and never more asked than a message is worth."""

from mailmoat.resolver.answer import Answer, Failed, Failure, Found, Kind, NoData, NoName, Record
from mailmoat.resolver.protocol import Budget, Resolver

__all__ = ["Answer", "Budget", "Failed", "Failure", "Found", "Kind", "NoData", "NoName", "Record", "Resolver"]
