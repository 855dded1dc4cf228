# SPDX-License-Identifier: Apache-2.0
"""What every command line tool shares."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from iid_mm.errors import InputError, MissingExtraError

USER_ERRORS = (InputError, FileNotFoundError, MissingExtraError)


def run_tool(main: Callable[[], int | None]) -> int:
    """Run a tool and turn the errors a user can mend into one message.

    Args:
        main: The tool; returns its exit status or None for success.

    Returns:
        The exit status: 1 after an :class:`~iid_mm.errors.InputError`, a missing file or a missing
        extra, whose message goes to stderr. Set the environment variable ``IID_DEBUG=1`` to see
        the traceback instead.
    """
    try:
        return main() or 0
    except USER_ERRORS as error:
        if os.environ.get('IID_DEBUG') == '1':
            raise
        print(f'error: {error}', file=sys.stderr)
        return 1
