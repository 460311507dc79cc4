"""`clipmill schema`: the manifest's JSON schema as it is published."""

from __future__ import annotations

import click


@click.command()
def command() -> None:
    """Print the manifest's JSON schema on stdout, as it is.

    Editors use it to complete and check manifests; `clipmill init` lays it beside the manifest it writes.

    \b
    For example:   clipmill schema > manifest.schema.json
    """
    from pipeline.cli.wording.console import put_raw
    from pipeline.manifest.schema import schema_text

    put_raw(schema_text())
