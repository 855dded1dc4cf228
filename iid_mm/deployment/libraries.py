# SPDX-License-Identifier: Apache-2.0
"""The optional packages that ONNX files need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from iid_mm.errors import MissingExtraError

EXTRA = 'onnx'
"""The extra that installs them."""


def import_onnx() -> Any:
    """The package onnx.

    Raises:
        MissingExtraError: If it is not installed.
    """
    return _import('onnx')


def import_onnxruntime() -> Any:
    """The package onnxruntime, which then reports errors only.

    Raises:
        MissingExtraError: If it is not installed.
    """
    onnxruntime = _import('onnxruntime')
    onnxruntime.set_default_logger_severity(3)
    return onnxruntime


def import_quantization() -> Any:
    """The module onnxruntime.quantization.

    Raises:
        MissingExtraError: If onnx or onnxruntime is not installed.
    """
    import_onnx()
    import_onnxruntime()
    return import_module('onnxruntime.quantization')


def import_float16() -> Any:
    """The module onnxruntime.transformers.float16.

    Raises:
        MissingExtraError: If onnx or onnxruntime is not installed.
    """
    import_onnx()
    import_onnxruntime()
    return import_module('onnxruntime.transformers.float16')


def runtime_errors() -> tuple[type[Exception], ...]:
    """What onnxruntime raises for files and inputs that it cannot use."""
    import_onnxruntime()
    state = import_module('onnxruntime.capi.onnxruntime_pybind11_state')
    own = [value for value in vars(state).values() if isinstance(value, type)]
    return (RuntimeError, ValueError, *(value for value in own if issubclass(value, Exception)))


def _import(package: str) -> Any:
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        # A package that is there and lacks one of its own needs is another matter.
        if error.name != package:
            raise
        raise MissingExtraError.of(package, EXTRA) from error
