"""`clipmill`: the tree of commands, the log, and the one place that turns errors into exit codes.

A command's module is imported when it is called and not before, so `clipmill --help` does not pay for any of them.
"""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from pipeline import __version__
from pipeline.cli.wording.console import say
from pipeline.errors import ClipmillError, Exit

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "init": "Write a commented manifest, and the schema beside it for the editor.",
    "validate": "Tell every problem of a manifest with its place; nothing is sent.",
    "plan": "Show what a run would submit, re-attach and reuse, and what it would cost.",
    "run": "Run a manifest, or go on with it; what is done is not asked for again.",
    "resume": "Go on with a batch from its ledger alone.",
    "status": "Show where batches stand.",
    "show": "Show one item's whole history.",
    "results": "Print the results of a batch.",
    "resolve": "Settle what is in doubt, item by item or all at once.",
    "retry": "Have items that ended without a clip attempted once more.",
    "export": "Make a dataset of the clips, for a loader or a trainer.",
    "check": "Hold a batch's ledger against its files; fetch again what is missing.",
    "report": "Write a page with every clip, the cost, the time, and what went wrong.",
    "models": "List a provider's models and what they can do.",
    "schema": "Print the manifest's JSON schema.",
    "sandbox": "Run the emulator of the providers as a server.",
}
"""In the order in which a newcomer needs them; the sentence is the command's short help."""


NO_KEY_OPTION = (
    "A key is never an option: every process of this machine can read what a command is called with. Export it, for "
    "example MODELMAX_API_KEY, or write it into a .env file here."
)
OUR_BUG = (
    "This is a bug of ours; please report the lines above. What the ledger holds is safe: the same command goes on "
    "from there."
)


class Commands(click.Group):
    """The commands, each in a module of its own: `pipeline.cli.commands.<name>`, whose `command` it is."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002, D102
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002, D102
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f"pipeline.cli.commands.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one may have been meant."""
        from difflib import get_close_matches

        near = get_close_matches(args[0], COMMANDS, n=1) if args and args[0] not in COMMANDS else []
        if near:
            ctx.fail(f"There is no command {args[0]!r}. Did you mean {near[0]!r}?")
        return super().resolve_command(ctx, args)


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="clipmill")
@click.option("-v", "--verbose", count=True, help="Log what is done; twice for more.")
def clipmill(verbose: int) -> None:
    """Turn a YAML manifest of prompts into a folder of whole, verified MP4 clips.

    Stop it any way you like and run the same command again: it goes on without paying twice and without losing a clip
    that was paid for. Begin with: clipmill init, then clipmill run manifest.yaml --sandbox.

    For completion in bash: eval "$(_CLIPMILL_COMPLETE=bash_source clipmill)"; for zsh and fish likewise.
    """
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG)
    logging.basicConfig(level=level, handlers=[log_handler()])


def log_handler() -> logging.Handler:
    """Return what writes the log to stderr, without keys."""
    from pipeline.cli.secrecy import Discreet, Secrecy

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Discreet(Secrecy(os.environ, Path.cwd())))
    return handler


def main(command: click.Command = clipmill, arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with the code that the README lists.

    Args:
        command: the whole of clipmill, unless it is another.
        arguments: what it is called with; those of the process where there are none.
    """
    try:
        code = command.main(arguments, standalone_mode=False)
    except click.exceptions.Abort:
        code = Exit.INTERRUPTED
    except click.NoSuchOption as error:
        error.show()
        if "key" in error.option_name:
            say(NO_KEY_OPTION)
        code = Exit.BAD_INPUT
    except click.ClickException as error:
        error.show()
        code = Exit.BAD_INPUT
    except ClipmillError as error:
        say(str(error))
        code = error.exit_code
    except Exception as error:  # the last place that can keep a key out of what is printed
        from pipeline.cli.secrecy import Secrecy, told

        say(told(error, Secrecy(os.environ, Path.cwd())))
        say(OUR_BUG)
        code = Exit.BUG
    sys.exit(code or 0)
