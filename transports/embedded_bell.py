"""Wakes processes that wait on one bus file: a FIFO beside the file for every consuming instance.

A ring is a hint and nothing more: it may be lost when its sender is killed, so whoever waits also looks at the file
from time to time. It makes deliveries arrive within a fraction of a millisecond while idle processes sleep.
"""

import os
import select
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


class Bells:
    """The bells of one bus file, as one instance uses them. Owned by one thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._own: int | None = None
        self._own_instance = 0
        self._poller = select.poll()
        self._others: dict[int, int] = {}

    @property
    def is_hung(self) -> bool:
        """True where others can wake this instance; False where the file system knows no FIFOs."""
        return self._own is not None

    def watch(self, descriptor: int) -> None:
        """Let ``wait`` return for this descriptor as well."""
        self._poller.register(descriptor, select.POLLIN)

    def wait(self, seconds: float) -> bool:
        """Wait for a ring or a watched descriptor, and return whether this instance's bell rang."""
        rung = False
        for descriptor, _ in self._poller.poll(max(0.0, seconds) * 1000):
            if descriptor == self._own:
                rung = True
                with suppress(BlockingIOError):
                    os.read(descriptor, 4096)
        return rung

    def hang(self, instance: int) -> None:
        """Put up the bell of this instance, if it does not hang already and the file system allows it."""
        path = self._bell(instance)
        if self._own is not None and self._own_instance == instance and path.exists():
            return
        self.take_down()
        try:
            path.unlink(missing_ok=True)  # of an instance of an earlier file at the same path
            os.mkfifo(path, 0o600)
            # Read and write, so that it never reports an end of file while nobody else holds it open.
            self._own = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return
        self._own_instance = instance
        self._poller.register(self._own, select.POLLIN)

    def take_down(self) -> None:
        """Remove this instance's bell and let go of the others'."""
        if self._own is not None:
            self._poller.unregister(self._own)
            os.close(self._own)
            self._own = None
            self.remove([self._own_instance])
        for descriptor in self._others.values():
            os.close(descriptor)
        self._others.clear()

    def ring(self, instances: Iterable[int]) -> None:
        """Wake other instances. It never blocks or fails: who is not there needs no waking."""
        for instance in instances:
            try:
                descriptor = self._others.get(instance)
                if descriptor is None:
                    descriptor = os.open(self._bell(instance), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                    self._others[instance] = descriptor
                os.write(descriptor, b"!")
            except BlockingIOError:
                pass  # full: it has been rung often enough
            except OSError:
                self._forget(instance)

    def remove(self, instances: Iterable[int]) -> None:
        """Remove the bells of instances that are gone."""
        for instance in instances:
            self._forget(instance)
            with suppress(OSError):
                self._bell(instance).unlink()

    def _forget(self, instance: int) -> None:
        descriptor = self._others.pop(instance, None)
        if descriptor is not None:
            os.close(descriptor)

    def _bell(self, instance: int) -> Path:
        return self._path.with_name(f"{self._path.name}-bell-{instance}")
