"""Read by every Python process of the full edition's test: no connection leaves this machine.

What was tried is noted in a file, so that a failure that is caught is noticed too.
"""

import os
import sys

LOCAL = {"127.0.0.1", "::1", "localhost", "", "0.0.0.0", None}


def guard(event: str, arguments: tuple) -> None:
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host not in LOCAL:
        with open(os.environ["WORLD_LOG"], "a") as log:
            log.write(f"{event} {host}\n")
        raise OSError(f"The test of the full edition must not ask {host}.")


sys.addaudithook(guard)
