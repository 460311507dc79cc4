"""`clipmill init`: a manifest to begin with, and the schema beside it."""

from __future__ import annotations

from pathlib import Path

import click

MANIFEST = "manifest.yaml"
SCHEMA = "manifest.schema.json"


@click.command()
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(path_type=Path))
def command(folder: Path) -> None:
    """Write a commented manifest into DIR (default: here), with its schema beside it for the editor.

    The manifest runs at once on the sandbox, with no key and at no cost. Nothing is ever overwritten.

    \b
    For example:   clipmill init my-clips
    """
    import shlex
    from importlib.resources import files

    from pipeline.cli.wording.console import put
    from pipeline.durable import make_folder, told_as_disk_refused
    from pipeline.manifest.schema import schema_text
    from pipeline.system.effects import system

    effects = system()
    _refuse_to_overwrite(folder)
    texts = {
        SCHEMA: schema_text(),
        MANIFEST: files("pipeline.cli.commands").joinpath("starter.yaml").read_text(encoding="utf-8"),
    }
    make_folder(effects.files, folder)
    for name, text in texts.items():
        with told_as_disk_refused(f"write {folder / name}"), (folder / name).open("x", encoding="utf-8") as file:
            file.write(text)
    manifest = shlex.quote(str(folder / MANIFEST))
    put(
        f"Wrote {folder / MANIFEST}, and {SCHEMA} beside it for your editor.\n"
        "Next:\n"
        f"  clipmill plan {manifest}\n"
        f"  clipmill run {manifest} --sandbox"
    )


def _refuse_to_overwrite(folder: Path) -> None:
    """Stop, having written nothing, where something of the name is there already.

    Raises:
        InputError: with what exists.
    """
    import os

    from pipeline.errors import InputError

    if os.path.lexists(folder) and not folder.is_dir():
        raise InputError(f"{folder} is not a folder; name another. Nothing was written.")
    present = [name for name in (MANIFEST, SCHEMA) if os.path.lexists(folder / name)]
    if present:
        raise InputError(
            f"{folder} holds {' and '.join(present)} already. Nothing was written; name another folder, for example: "
            f"clipmill init {'my-clips' if folder == Path() else f'{folder}-2'}"
        )
