"""The ways to call and be called, one per kind of broker or bus: adapters of ``gemstone_events.rpc.wire``."""
