"""Sender ID and SPF: whether a host may send in a domain's name (RFC 4406, RFC 7208).

`record` chooses the record, `evaluate` judges by it, `wizard` writes one. All of it asks the DNS through `mailmoat.resolver` only
and knows neither messages nor policy: the policy layer says who is asked about and what follows.
"""
