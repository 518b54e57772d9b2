"""`adaptive-sd import`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adaptive_sd.cli.outputs import check_table_out
from adaptive_sd.stage_record import StageRecord

if TYPE_CHECKING:
    import pyarrow as pa

    from adaptive_sd.offline.importers.lm_eval import Price

app = typer.Typer(
    help="Make an outcome table from what other programs have measured.",
    no_args_is_help=True,
)

OutOption = Annotated[Path, typer.Option(help="Outcome table to write (.parquet or .csv).")]


@app.command("lm-eval")
def lm_eval(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Output folders of lm-eval with --log_samples, one for each stage, cheapest first."
        ),
    ],
    out: OutOption,
    name: Annotated[
        list[str] | None, typer.Option(help="Name of a stage, one for each run in order.")
    ] = None,
    price: Annotated[
        list[str] | None,
        typer.Option(
            help="IN:OUT, the cost of a million tokens read and written, one for each run in "
            "order. Without it: billions of parameters a thousand tokens written, a fifth of "
            "that for tokens read."
        ),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="Metric that is the quality; the first logged one.")
    ] = None,
    filter_name: Annotated[
        str | None, typer.Option("--filter", help="Filter of the answers; the first logged one.")
    ] = None,
) -> None:
    """Logs of lm-evaluation-harness; tokens are counted as characters / 4."""
    from adaptive_sd.offline.importers.lm_eval import import_lm_eval  # loads pyarrow

    check_table_out(out, runs)
    prices = [_price(given) for given in price] if price else None
    table, stages = import_lm_eval(
        runs, names=name, prices=prices, metric=metric, filter_name=filter_name
    )
    _write(table, stages, out)


@app.command("wide")
def wide(
    file: Annotated[Path, typer.Argument(help="Table (Parquet or CSV) of one row a prompt.")],
    out: OutOption,
    models: Annotated[
        str | None,
        typer.Option(help="Models, cheapest first, commas between; else all, by mean cost."),
    ] = None,
    prompt_id: Annotated[str, typer.Option("--id", help="Column of the prompt's id.")] = (
        "sample_id"
    ),
    prompt: Annotated[str, typer.Option(help="Column of the prompt, if there is one.")] = "prompt",
    category: Annotated[
        str, typer.Option(help="Column of the category, if there is one.")
    ] = "eval_name",
    quality: Annotated[str, typer.Option(help="Columns of quality, 0 to 1.")] = "{model}",
    cost: Annotated[str, typer.Option(help="Columns of cost.")] = "{model}|total_cost",
    answer: Annotated[
        str, typer.Option(help="Columns of answers, if there are any.")
    ] = "{model}|model_response",
) -> None:
    """A table with columns for each model, as RouterBench has it."""
    from adaptive_sd.offline.importers.wide import WideColumns, import_wide  # loads pyarrow

    check_table_out(out, [file])
    columns = WideColumns(prompt_id, prompt, category, quality, cost, answer)
    chosen = [m.strip() for m in models.split(",")] if models else None
    table, stages = import_wide(file, columns, chosen)
    _write(table, stages, out)


def _price(given: str) -> Price:
    from adaptive_sd.offline.importers.lm_eval import Price

    try:
        read, written = (float(part) / 1e6 for part in given.split(":"))
    except ValueError as error:
        raise typer.BadParameter(f"--price is {given!r}; write IN:OUT, such as 0.6:0.8.") from error
    if not (0 <= read < float("inf") and 0 <= written < float("inf")):
        raise typer.BadParameter(f"--price is {given!r}; a price is at least 0.")
    return Price(read, written)


def _write(table: pa.Table, stages: list[str], out: Path) -> None:
    from adaptive_sd.data.outcomes import write_outcomes

    write_outcomes(table, tuple(map(StageRecord, stages)), out)
    print(f"{out}: {table.num_rows} rows, stages {', '.join(stages)}", file=sys.stderr)
