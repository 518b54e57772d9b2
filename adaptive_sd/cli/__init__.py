"""The command line: parse, call the library, print. Results on stdout, everything else stderr."""

from __future__ import annotations

import os
import signal
import sys
import warnings

import typer
from typer.exceptions import TyperException

from adaptive_sd import __version__
from adaptive_sd.cli import (
    answering,
    benching,
    calibrating,
    checking,
    demo,
    importing,
    learning,
    offline,
    planning,
    recording,
    replaying,
    reporting,
)
from adaptive_sd.cli import models as model_commands
from adaptive_sd.errors import AdaptiveSDError

app = typer.Typer(
    name="adaptive-sd",
    help="Answer each prompt with the cheapest model of a ladder that is good enough.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)
app.command("answer")(answering.answer)
app.command("feedback")(learning.feedback)
app.command("recalibrate")(learning.recalibrate)
app.command("demo")(demo.demo)
app.add_typer(model_commands.app, name="models")
app.command("doctor")(checking.doctor)
app.command("record")(recording.record)
app.command("export")(offline.export)
app.add_typer(importing.app, name="import")
app.command("fit")(offline.fit)
app.command("refit")(offline.refit)
app.command("calibrate")(calibrating.calibrate)
app.command("replay")(replaying.replay)
app.command("report")(reporting.report)
app.command("plan")(planning.plan)
app.add_typer(benching.app, name="bench")


def _print_version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Options of every command."""


_INTERRUPTED = 130
"""Exit code after Ctrl-C, also typer's own."""


def main() -> None:
    """Run the command line; exit 0 ok, 1 failed or bad data, 2 usage, 130 interrupted."""
    warnings.showwarning = _show_warning
    sys.exit(run(sys.argv[1:]))


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"warning: {message}", file=sys.stderr)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    try:
        result = app(arguments, prog_name="adaptive-sd", standalone_mode=False)
    except TyperException as error:  # bad usage: its exit code is 2
        if told := " ".join(error.format_message().split()):  # else a page of help was all
            print(f"error: {told}", file=sys.stderr)
        return int(error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        result = _INTERRUPTED
    except AdaptiveSDError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except UnicodeDecodeError as error:
        print(f"error: the input is not UTF-8 ({error}).", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:  # no disk, no right to write
        print(f"error: {error.filename or 'the system'}: {error.strerror}", file=sys.stderr)
        return 1
    if result == _INTERRUPTED:
        print("interrupted", file=sys.stderr)
    return result if isinstance(result, int) else 0
