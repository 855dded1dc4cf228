# SPDX-License-Identifier: Apache-2.0
"""Errors that a user can fix."""

from __future__ import annotations


class InputError(ValueError):
    """Bad user input; the message names the argument, its value and the remedy."""


class InvalidIndexError(InputError):
    """An index breaks its schema; the message names the file, the row and the column."""


class MissingExtraError(ImportError):
    """An optional dependency is needed that is not installed."""

    @classmethod
    def of(cls, package: str, extra: str) -> MissingExtraError:
        """Build the error for ``package``, which the extra ``extra`` installs."""
        return cls(f"{package} is not installed; install it with: pip install 'iid-mm[{extra}]'")


class StoppedError(Exception):
    """Training was stopped on request and can be resumed; the message says from where.

    Args:
        message: What happened, and how to resume.
        status: The exit status of a tool.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
