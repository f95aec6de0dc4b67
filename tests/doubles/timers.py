"""Timers without a clock, in the place of runtime/timers.py; held to the real ones by tests/conformance/test_timers_kit.py."""


class StillTimers:
    """Timers whose owners are due when they are told so."""

    def __init__(self):
        self.owners = {}
        self._keys = 0

    def after(self, seconds, owner):
        self._keys += 1
        self.owners[self._keys] = seconds, owner
        return self._keys

    def cancel(self, key):
        return self.owners.pop(key, None) is not None

    def __len__(self):
        return len(self.owners)

    def pass_all(self):
        """All deadlines are over."""
        owners, self.owners = self.owners, {}
        for _, owner in sorted(owners.values(), key=lambda waiting: waiting[0]):
            owner.due()
