"""Ports of this machine that are free for a listener."""

import random
import socket

candidates = range(20_000, 32_768)
"""Ports that the kernel gives to no outgoing connection (ip(7), ip_local_port_range): what is free stays free."""


def choose_free(count: int, host: str = "127.0.0.1") -> list[int]:
    """Different ports that nobody listens on at this moment."""
    chosen: list[int] = []
    for port in random.sample(candidates, len(candidates)):
        if len(chosen) == count:
            return chosen
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
        chosen.append(port)
    raise OSError("no free port between 20000 and 32767")
