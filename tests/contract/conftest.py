"""Compare with a golden file, or rewrite it: ``pytest tests/contract --update-golden``."""

import difflib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/contract/golden")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, Any], None]:
    """Compare a value with the golden file of this name."""
    # The default: pytest reads this file too late for the option unless it is named on the command line.
    update = request.config.getoption("--update-golden", default=False)

    def check(name: str, value: Any) -> None:
        file = GOLDEN / f"{name}.json"
        new = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        if update:
            file.parent.mkdir(exist_ok=True)
            file.write_text(new, encoding="utf-8")
        old = file.read_text(encoding="utf-8")
        changes = difflib.unified_diff(old.splitlines(), new.splitlines(), file.name, "now", n=2, lineterm="")
        if new != old:
            pytest.fail("\n".join(changes), pytrace=False)

    return check
