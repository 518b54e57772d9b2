"""`adaptive-sd models`: what is known, cached, fetched, checked and removed."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from adaptive_sd.cli.explain import table
from adaptive_sd.cli.progress import download_bar
from adaptive_sd.errors import DamagedModelError
from adaptive_sd.models.catalogue import CatalogueEntry, find, load_catalogue
from adaptive_sd.models.download import pull
from adaptive_sd.models.store import file_of, remove
from adaptive_sd.models.store import verify as verify_file

app = typer.Typer(help="Model files on this machine.", no_args_is_help=True)
NamesArgument = Annotated[list[str], typer.Argument(help="Catalogue names.")]
OfflineOption = Annotated[bool, typer.Option(help="Never use the network.")]


@app.command("list")
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List the models known by name and which are cached."""
    rows = [
        {
            "name": entry.name,
            "bytes": entry.bytes,
            "quant": entry.quant,
            "licence": entry.licence,
            "cached": file_of(entry).exists(),
        }
        for entry in load_catalogue().values()
    ]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    cells = [
        (
            *(str(r["name"]), f"{entry.bytes / 1e6:.0f} MB", entry.quant, entry.licence),
            "cached" if r["cached"] else "-",
        )
        for r, entry in zip(rows, load_catalogue().values(), strict=True)
    ]
    print(table([("model", "size", "quantisation", "licence", "here"), *cells]))


@app.command("pull")
def pull_models(names: NamesArgument, offline: OfflineOption = False) -> None:
    """Fetch models that are not here, or are damaged."""
    for entry in fetch([find(name) for name in names], offline=offline):
        print(f"{entry.name}: {file_of(entry)}", file=sys.stderr)


@app.command("verify")
def verify(names: Annotated[list[str] | None, typer.Argument()] = None) -> None:
    """Check size and hash of cached models, or of all that are cached."""
    cached = [e.name for e in load_catalogue().values() if file_of(e).exists()]
    for name in names or cached:
        verify_file(find(name), again=True)
        print(f"{name}: whole", file=sys.stderr)


@app.command("rm")
def rm(names: NamesArgument) -> None:
    """Delete cached models."""
    for entry in [find(name) for name in names]:
        existed = remove(entry.name)
        print(f"{entry.name}: {'removed' if existed else 'was not cached'}", file=sys.stderr)


def fetch(entries: list[CatalogueEntry], *, offline: bool) -> list[CatalogueEntry]:
    """Fetch the files that are absent or damaged, with a bar for each."""
    for entry in entries:
        try:
            verify_file(entry)
        except DamagedModelError:
            with download_bar(f"fetching {entry.name}") as show:
                pull(entry, file_of(entry), show_progress=show, offline=offline)
            verify_file(entry)
    return entries
