"""What other libraries' objects and exceptions say."""

from __future__ import annotations

from typing import Any


def is_of_torch(value: Any) -> bool:
    """Whether an object is one of torch's, without importing it."""
    return type(value).__module__.partition(".")[0] == "torch"


def one_line(error: BaseException) -> str:
    """The first line of a foreign exception."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
