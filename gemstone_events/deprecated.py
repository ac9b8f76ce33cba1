"""Names of gemstone before 0.9, for code that still uses them. New code writes ``@exposed_method``."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from gemstone_events.handlers import MethodOptions, declare_method, method_options

Function = TypeVar("Function", bound=Callable[..., object])


def public_method(function: Function) -> Function:
    """Expose a method to everybody: ``@exposed_method()``."""
    return _amend(function, "@exposed_method()", lambda options: options)


def private_api_method(function: Function) -> Function:
    """Expose a method to authenticated callers: ``@exposed_method(private=True)``."""
    return _amend(function, "@exposed_method(private=True)", lambda options: replace(options, private=True))


def requires_handler_reference(function: Function) -> Function:
    """Give the method the request's handler first: ``@exposed_method(requires_handler_reference=True)``."""
    return _amend(
        function,
        "@exposed_method(requires_handler_reference=True)",
        lambda options: replace(options, requires_handler_reference=True),
    )


def async_method(function: Function) -> Function:
    """Of no effect any more: write ``async def``."""
    return _amend(function, "async def", lambda options: options)


def _amend(function: Function, instead: str, change: Callable[[MethodOptions], MethodOptions]) -> Function:
    warnings.warn(f"use {instead} instead", DeprecationWarning, stacklevel=3)
    declare_method(function, change(method_options(function) or MethodOptions()))
    return function
