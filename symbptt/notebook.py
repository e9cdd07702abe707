"""What notebooks show of reports: their text, line by line."""

from __future__ import annotations

from html import escape


def preformatted(text: str) -> str:
    """Return HTML that shows a text as it stands, in letters of one width."""
    return f'<pre style="line-height: 1.2">{escape(text)}</pre>'


def folded(title: str, text: str) -> str:
    """Return HTML that shows a title, and under it a text where somebody opens it."""
    return f"<details><summary>{escape(title)}</summary>{preformatted(text)}</details>"
