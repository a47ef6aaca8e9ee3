"""The command line: parse, call, print.

Data goes to stdout, progress and prose to stderr. Exit codes: 0 all pictures made, 1 some failed,
2 wrong use (nothing was sent), 130 interrupted. It needs the extra `cli`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from wavespeed_async._extras import need
from wavespeed_async.cli import _output
from wavespeed_async.errors import ConfigurationError, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

FAILED, WRONG_USE, INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and answer its exit code; it never ends in a traceback.

    Args:
        arguments: What stands behind the program's name; by default what it was called with.
    """
    _output.be_lenient()
    try:
        return _main(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        _output.tell("interrupted")
        return INTERRUPTED
    except _output.WrongUseError as error:
        _output.tell(*error.lines)
        return WRONG_USE
    except (ConfigurationError, InvalidRequestError) as error:
        _output.tell(str(error))
        return WRONG_USE
    except OSError as error:
        _output.tell(_output.words(error))
        return FAILED
    finally:
        _output.flush()


def _main(arguments: Sequence[str]) -> int:
    with need("cli", of="the command line"):
        from wavespeed_async.cli._app import call  # noqa: PLC0415 (needs the extra)

    return call(arguments)
