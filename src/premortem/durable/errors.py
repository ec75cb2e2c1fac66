"""What durable state may raise, by who must act: the operator, the code's owner, or the other worker."""

from __future__ import annotations

from datetime import datetime

from premortem.errors import ConfigurationError, PremortemError


class DurableError(PremortemError):
    """Anything that durable state raises on purpose, besides ConfigurationError for what it was told wrongly."""


class DamagedError(DurableError):
    """The operator must act: what is kept here is not what was written. `where` names it, `why` says what is wrong."""

    def __init__(self, where: str, why: str, way_out: str) -> None:
        super().__init__(where, why, way_out)
        self.where, self.why, self.way_out = where, why, way_out

    def __str__(self) -> str:
        return f"{self.where} is damaged: {self.why}; {self.way_out}"


class CheckpointDamagedError(DamagedError):
    """No kept version of a checkpoint is good. To start anew in silence would do all the work twice, so this stops."""


class StaleOwnerError(DurableError):
    """This worker must stop: somebody else has claimed or saved the checkpoint since. Nothing was written."""


class OwnedError(DurableError):
    """Somebody else holds the checkpoint: `owner`, and `until` when (UTC) unless it renews."""

    def __init__(self, name: str, owner: str, until: datetime) -> None:
        super().__init__(name, owner, until)
        self.name, self.owner, self.until = name, owner, until

    def __str__(self) -> str:
        return (
            f"checkpoint {self.name!r} is held by {self.owner!r} until {self.until:%Y-%m-%d %H:%M:%S} UTC: one worker "
            "at a time; wait for it, give each worker a name of its own, or claim(..., take_over=True) if it is dead"
        )


class StoreDownError(DurableError):
    """The operator must act: a store does not answer, or cannot write. `store` names it, `why` is its own word.

    What was being saved may or may not have been kept: load() says, when the store is back.
    """

    def __init__(self, store: str, why: str) -> None:
        super().__init__(store, why)
        self.store, self.why = store, why

    def __str__(self) -> str:
        return f"{self.store} is down: {self.why}; bring it back and run again, nothing that was saved is lost"


class NewerSchemaError(ConfigurationError, DurableError):
    """The code's owner must act: newer code has saved this, and older code would misread or undo it."""


class MigrationError(ConfigurationError, DurableError):
    """The code's owner must act: a step from an older schema to this code's is missing."""


class InFlightError(DurableError):
    """The caller must wait: the same key is being worked on right now, by `owner`, at the latest until `until` (UTC).

    `until` is None where it is inside a transaction of somebody else's, which ends when that ends.
    """

    def __init__(self, key: str, owner: str, until: datetime | None) -> None:
        super().__init__(key, owner, until)
        self.key, self.owner, self.until = key, owner, until

    def __str__(self) -> str:
        bound = f"until {self.until:%Y-%m-%d %H:%M:%S} UTC at the latest" if self.until else "in an open transaction"
        return f"{self.key!r} is being worked on by {self.owner}, {bound}; ask again a little later with the same key"


class UnknownOutcomeError(DurableError):
    """The operator must act: whoever worked on `key` was never heard of again, and may have done it or not.

    `began` says when (UTC), `owner` who. It is not run again by itself.
    """

    def __init__(self, key: str, owner: str, began: datetime) -> None:
        super().__init__(key, owner, began)
        self.key, self.owner, self.began = key, owner, began

    def __str__(self) -> str:
        return (
            f"the outcome of {self.key!r} is not known: {self.owner} began at {self.began:%Y-%m-%d %H:%M:%S} UTC and "
            "was never heard of again; find out whether it was done, then settle(key, payload, result) or forget(key)"
        )


class NothingDoneError(DurableError):
    """Raised by a function that runs under a key, to say that nothing was done: the key is free again."""


class NotKeptError(DurableError):
    """The operator must act: the function has run for `key`, and its `result` could not be kept.

    The next call with this key is told InFlightError, later UnknownOutcomeError: it is not run again.
    """

    def __init__(self, key: str, result: object, why: str) -> None:
        super().__init__(key, result, why)
        self.key, self.result, self.why = key, result, why

    def __str__(self) -> str:
        return (
            f"{self.key!r} is done, and its result could not be kept: {self.why}; take the result from this error, and "
            "settle(key, payload, result) when the store is back"
        )


class PayloadMismatchError(DurableError):
    """The caller must act: `key` was used before with another payload. Nothing was run."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key

    def __str__(self) -> str:
        return f"{self.key!r} was used before with another payload: a key stands for one request; make a new one"


class DeadLettersFullError(DurableError):
    """The operator must act: no room for another dead letter. It was not kept, so its source must not go on."""


class TooManyDeadLettersError(DurableError):
    """The operator must act: the share of dead letters is above the limit; the source is wrong, or the code is.

    The letter that was too many has been kept.
    """

    def __init__(self, name: str, dead: int, of: int, limit: float) -> None:
        super().__init__(name, dead, of, limit)
        self.name, self.dead, self.of, self.limit = name, dead, of, limit

    def __str__(self) -> str:
        return (
            f"{self.name!r}: {self.dead} of {self.of} are dead letters, {self.dead / self.of:.1%}, and the limit is "
            f"{self.limit:.1%}; look at counts() for the reason, mend it, and replay"
        )


class RepairConflictError(DurableError):
    """The operator must act: the database refused a statement of a repair plan, so nothing of the plan was done."""
