"""`adaptive-sd models`: what is known, cached, fetched, checked and removed."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from adaptive_sd.cli.explain import table
from adaptive_sd.cli.progress import counting_bar, download_bar
from adaptive_sd.data.tasks import load_tasks
from adaptive_sd.errors import DamagedModelError
from adaptive_sd.models.catalogue import CatalogueEntry, find, load_catalogue
from adaptive_sd.models.download import pull
from adaptive_sd.models.formats import FORMATS, requantise
from adaptive_sd.models.home import writable_models_dir
from adaptive_sd.models.store import discard, file_of, remove, resolve
from adaptive_sd.models.store import verify as verify_file

if TYPE_CHECKING:
    from adaptive_sd.offline.tune import Tuning

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


@app.command("tune")
def tune(
    name: Annotated[str, typer.Argument(help="A catalogue name, GGUF file or hub id.")],
    formats: Annotated[str, typer.Option(help="Formats to try.")] = ",".join(FORMATS),
    tasks: Annotated[str, typer.Option(help="A bundled set or a JSONL file.")] = "tuning",
    limit: Annotated[int | None, typer.Option(min=1, help="The first prompts only.")] = None,
    tolerance: Annotated[
        float,
        typer.Option(min=0, max=1, help="Quality that a format may give up, as the tasks show it."),
    ] = 0.03,
    seed: Annotated[int, typer.Option(help="Seed of the intervals.")] = 0,
    offline: OfflineOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Find the format of a model that is cheapest here and loses little quality on some tasks.

    How little is known as well as the tasks tell: the output says on how many it was measured, how
    closely, and what loss cannot be ruled out. A few dozen, like the bundled ones, tell losses of
    a tenth or more. The file that pays is kept beside the fetched one; the others are deleted.
    """
    from adaptive_sd.offline import tune as tuning  # loads scikit-learn

    chosen = load_tasks(tasks, limit)
    source = resolve(name, offline=offline)
    folder = writable_models_dir()
    stem = source.path.name.removesuffix(".gguf")
    made = {quant.strip(): folder / f"{stem}.{quant.strip()}.gguf" for quant in formats.split(",")}
    new = [path for path in made.values() if not path.exists()]
    kept = None
    try:
        for quant, path in made.items():
            requantise(source.path, quant, path)
        with counting_bar(f"tuning {name}") as show:
            found = tuning.tune(
                [("as fetched", source.path), *made.items()],
                chosen,
                tolerance=tolerance,
                seed=seed,
                on_progress=show,
            )
        kept = found.kept
    finally:
        for path in new:
            if kept is None or path != kept.path:
                discard(path)
    print(json.dumps(asdict(found), indent=2, default=str) if as_json else _tuning_lines(found))


def _tuning_lines(found: Tuning) -> str:
    head = ("format", "size", "prefill", "decode", "quality", "difference", "cost", "ratio")
    others = found.measured[1:]
    verdicts = ["", *(m.flaw(found.tolerance) or "may be used" for m in others)]
    rows = [
        (
            *(m.quant, f"{m.bytes / 1e6:.0f} MB"),
            *(f"{1 / m.rates.prefill_s:.0f}/s", f"{1 / m.rates.decode_s:.0f}/s"),
            *(f"{m.quality:.3f}", f"{m.difference}", f"{m.cost:.3f} s", f"{m.ratio}"),
            verdict,
        )
        for m, verdict in zip(found.measured, verdicts, strict=True)
    ]
    lines = [table([(*head, "verdict"), *rows]), f"measured on {found.num_tasks} tasks:"]
    for m in others:
        lines.append(
            f"  {m.quant}: quality known to +- {found.error(m):.3f}; a loss of up to "
            f"{found.most_lost(m):.3f} is not ruled out; "
            + ", ".join(
                f"{f} {o.difference.value:+.3f} on {o.num_tasks}" for f, o in m.forms.items()
            )
        )
    kept = found.kept
    lines.append(
        "none may be used: keep the file"
        if kept is None
        else f'{kept.quant} pays: model = "{kept.path}"  # sha256 {kept.sha256}'
    )
    return "\n".join(lines)


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
