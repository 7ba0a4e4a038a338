"""A cable between one process and the bus, that a story cuts: what was sent is lost without a word, as by a network."""

import select
import socket
import threading
from collections.abc import Callable

_CHUNK = 65536


class Cut:
    """Passes connections to ``port`` on to ``target``; cut, it passes nothing on and takes no new ones."""

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", port), backlog=16)
        self._listener.settimeout(0.2)
        self._whole = threading.Event()
        self._whole.set()
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        self._spawn(self._accept)

    def stop(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    def cut(self) -> None:
        """From now on nothing gets through, and neither end is told."""
        self._whole.clear()

    def mend(self) -> None:
        """Connections that were cut end, as they do when a network comes back; new ones work."""
        self._whole.set()

    def _spawn(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                near, _ = self._listener.accept()
            except TimeoutError:
                continue
            if self._whole.is_set():
                self._spawn(self._pass, near)
            else:
                near.close()

    def _pass(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection(("127.0.0.1", self._target), 5)
        except OSError:
            near.close()
            return
        with near, far:
            while not self._ended.is_set():
                if not self._whole.is_set():
                    self._wait_until_mended()
                    return
                readable, _, _ = select.select([near, far], [], [], 0.05)
                for source in readable:
                    try:
                        content = source.recv(_CHUNK)
                        if not content:
                            return
                        (far if source is near else near).sendall(content)
                    except OSError:
                        return

    def _wait_until_mended(self) -> None:
        while not self._ended.is_set() and not self._whole.wait(0.1):
            pass
