"""Publishers: each brings a batch to one kind of broker, and returns when the broker has it.

A publisher is any `async def publish(batch: Sequence[Message])`. It delivers in the batch's order and stops at the
first failure, or delivers all or nothing; it raises SinkDownError or OSError where the broker is to blame, anything
else where a message may be. What it does not acknowledge by returning comes again.
"""
