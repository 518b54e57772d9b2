"""Where a command writes, which is never over what it reads, and what it warns of."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from adaptive_sd.errors import ConfigError

if TYPE_CHECKING:  # loads pyarrow
    from adaptive_sd.data.outcomes import OutcomeTable


def check_out(out: Path, inputs: Iterable[Path]) -> None:
    """Raise ConfigError where `out` is one of the inputs, however it is spelled, or holds one.

    Also where it is a folder without a name of its own, beside which nothing can be put.
    """
    if out.name in ("", ".."):
        raise ConfigError(f"--out {out}: has no name; give the path of a new file or folder.")
    for path in inputs:
        if not path.exists():
            continue
        place = path.resolve()
        if (out.exists() and out.samefile(path)) or out.resolve() in place.parents:
            raise ConfigError(f"--out {out}: {path}, which is read, would be lost; give another.")


def check_table_out(out: Path, inputs: Iterable[Path]) -> None:
    """As `check_out`; also raises DataError where a table cannot have that name."""
    from adaptive_sd.data.table_files import is_csv  # loads pyarrow

    is_csv(out)
    check_out(out, inputs)


def how_to_use(out: Path, ladder: str) -> str:
    """What makes `answer` go by an artifact; its configuration is the one that `ladder` says."""
    return (
        f'{out}: write artifact = "{out}" into the configuration {ladder}, then '
        '`adaptive-sd answer "..." --config FILE` goes by it'
    )


def warn_of_lack(table: OutcomeTable) -> None:
    """One line on stderr where a table tells too little; after the work, which may refuse it."""
    from adaptive_sd.offline.evidence import lack_of  # loads pyarrow

    if lack := lack_of(table):
        print(f"warning: {lack}.", file=sys.stderr)
