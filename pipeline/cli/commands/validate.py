"""`clipmill validate`: every problem of a manifest, each with its place, and nothing sent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import checking_options, json_option

if TYPE_CHECKING:
    from pipeline.errors import Exit


@click.command()
@click.argument("manifest", type=click.Path(path_type=Path))
@checking_options
@json_option
def command(manifest: Path, *, allow_inputs: tuple[Path, ...], no_catalogue: bool, as_json: bool) -> Exit:
    """Tell every problem of MANIFEST as file:line:column: message, with the nearest thing that works.

    The file, the tables and images that it names, and what the providers can do are all checked, and told together.
    Nothing is sent, and no key is needed. Exit code 2 where there is an error; warnings alone do not count.

    \b
    For example:   clipmill validate manifest.yaml
    """
    from pipeline.cli.running.checking import checking
    from pipeline.cli.wording.console import count, put, put_json, say
    from pipeline.cli.wording.problems import problem_to_json, tell_problems
    from pipeline.errors import Exit, Problem, ProblemsFound, Severity
    from pipeline.planning.plan import Plan, plan_file
    from pipeline.system.effects import system

    plan: Plan | None = None
    problems: list[Problem]
    by = checking(system(), by_list=not no_catalogue)
    try:
        plan = plan_file(manifest, by.offline, allowed=allow_inputs)
        problems = list(plan.warnings)
    except ProblemsFound as found:
        problems = found.problems
    tell_problems(problems)
    if as_json:
        put_json(
            {
                "manifest": str(manifest),
                "valid": plan is not None,
                "problems": [problem_to_json(problem) for problem in problems],
                "items": None if plan is None else len(plan.items),
            }
        )
    if plan is None:
        errors = sum(problem.severity is Severity.ERROR for problem in problems)
        say(f"{manifest}: {count(errors, 'error')}; nothing was sent.")
        for sentence in by.explained(problems):
            say(sentence)
        return Exit.BAD_INPUT
    if not as_json:
        warned = f", {count(len(problems), 'warning')}" if problems else ""
        put(f"{manifest}: OK, {count(len(plan.items), 'item')}, {count(plan.estimate.clips, 'clip')}{warned}")
    return Exit.DONE
