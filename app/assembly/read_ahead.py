"""Items made in a thread before they are asked for: videos are decoded while a set is looked at."""

import queue
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

_WAIT_S = 0.1


class ReadAhead(Generic[T]):
    """Iterates over `items`, a generator, of which at most `ahead` are made and wait. Raises what it raises."""

    def __init__(self, items: Iterator[T], ahead: int) -> None:
        self._waiting: queue.Queue[tuple[T | None, BaseException | None, bool]] = queue.Queue(max(ahead, 1))
        self._closed = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._make, args=(items,), daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._ended:
            raise StopIteration
        item, error, ended = self._waiting.get()
        if not ended:
            return item  # type: ignore[return-value]
        self._ended = True
        if error is not None:
            raise error
        raise StopIteration

    def close(self) -> None:
        """End the thread; what waits is given up."""
        self._ended = True
        self._closed.set()
        self._thread.join()

    def _make(self, items: Iterator[T]) -> None:
        failed = None
        try:
            for item in items:
                self._put(item, None, False)
                if self._closed.is_set():
                    break
        except BaseException as error:
            failed = error
        finally:
            if hasattr(items, "close"):
                items.close()  # type: ignore[attr-defined]
            self._put(None, failed, True)

    def _put(self, item: T | None, error: BaseException | None, ended: bool) -> None:
        while not self._closed.is_set():
            try:
                self._waiting.put((item, error, ended), timeout=_WAIT_S)
                return
            except queue.Full:
                continue
