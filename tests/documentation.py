"""The pages of the documentation, and their code blocks."""

import re
from pathlib import Path
from typing import NamedTuple

from tests.servers import ROOT

_PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "benchmarks/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
TEXTS = {page.relative_to(ROOT): page.read_text(encoding="utf-8") for page in _PAGES}
TEXT = "\n".join(TEXTS.values())


class Block(NamedTuple):
    """A fenced block: its page, its language, its text without the indentation of a list."""

    page: Path
    language: str
    text: str


def blocks(*languages: str) -> list[Block]:
    """List the code blocks of all pages, or those in some languages."""
    found = [
        Block(page, language, re.sub(f"^{indent}", "", text, flags=re.MULTILINE))
        for page, whole in TEXTS.items()
        for indent, language, text in re.findall(r"^( *)```(\w*)\n(.*?)^ *```$", whole, re.MULTILINE | re.DOTALL)
    ]
    return [block for block in found if not languages or block.language in languages]


def without_placeholders(text: str) -> str:
    """Put a word in place of what the reader fills in, such as ``<commit>``."""
    return re.sub(r"<[^<>\n]+>|…", "filled-in", text)
