"""Passwords stay out of what is printed and kept."""

from __future__ import annotations

import re


def redact(text: str) -> str:
    """`text` without the passwords of URLs in it: postgresql://user:***@host."""
    shown = re.sub(r"(://[^/:@\s]*):\S*@", r"\1:***@", text)
    return re.sub(r"([?&]password=)[^&\s]*", r"\1***", shown)
