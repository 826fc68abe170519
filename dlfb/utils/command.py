"""What the commands of the package have in common."""

import sys
from collections.abc import Callable


def finish(name: str, work: Callable[[], None], stopped: str = "Stopped.") -> int:
    """Do the work of a command and return its exit status: 0, 1 after an error, 130 if stopped.

    An error that is a sentence for people goes to stderr without a traceback.
    """
    try:
        work()
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return 130
    except (ValueError, OSError, MemoryError) as error:
        print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0
