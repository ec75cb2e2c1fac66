"""Leases: every fault has an owner and a time to live, and is undone when either is over."""
