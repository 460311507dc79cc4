"""What is left when a defence is taken away: for each threat, the program as it would be without what stops it.

A removal is a patched program, as a mutant of the torture is, for the length of one run of a test: it says in a
sentence what is missing, and which test must then fail. `tests.security.removed` shows that each does.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import sqlite3
import ssl
import traceback
import zlib
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli import keys, main, secrecy
from pipeline.cli.commands import run as run_cmd
from pipeline.cli.running import elsewhere, pricing, rehearsal, session
from pipeline.cli.standing import history
from pipeline.cli.wording import console, spreadsheet
from pipeline.clips import download
from pipeline.ledger import database, emergency
from pipeline.ledger.writer import Writer
from pipeline.manifest import load, validate
from pipeline.planning import columns, ids, inputs
from pipeline.providers import exchange, http, transport
from pipeline.providers.mask import Mask
from pipeline.providers.modelmax import paths as modelmax_paths
from pipeline.providers.origin import Origin
from pipeline.providers.venice import provider as venice
from pipeline.storage import cloud
from pipeline.storage.base import StoreDown
from pipeline.system import databases, locks, network
from pipeline.system import effects as system_effects
from pipeline.system.files import SystemFiles

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.torture.mutant import Patch

SECRETS = "tests/security/test_secrets.py::"
ADDRESSES = "tests/security/test_addresses.py::"
FILES = "tests/security/test_files.py::"
MANIFESTS = "tests/security/test_manifests.py::"
ANSWERS = "tests/security/test_answers.py::"
OUTPUT = "tests/security/test_output.py::"
SUPPLY = "tests/security/test_supply.py::"


@dataclass(frozen=True, kw_only=True)
class Removal:
    """One defence less."""

    name: str
    threat: str
    """T1 to T27."""
    about: str
    test: str
    """The test that must fail."""
    take_away: Callable[[Patch], None]


REMOVALS: dict[str, Removal] = {}


def removal(threat: str, about: str, test: str) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    """Enter a removal under the name of the function that makes it."""

    def enter(take_away: Callable[[Patch], None]) -> Callable[[Patch], None]:
        name = take_away.__name__
        REMOVALS[name] = Removal(name=name, threat=threat, about=about, test=test, take_away=take_away)
        return take_away

    return enter


# Secrets


@removal("T1", "A key can be given as an option.", SECRETS + "test_no_command_takes_a_key_as_an_option")
def key_as_an_option(patch: Patch) -> None:
    patch(run_cmd.command, "params", [*run_cmd.command.params, click.Option(["--api-key"])])


@removal("T2", "A key that a vendor repeats is kept.", SECRETS + "test_the_key_is_in_no_byte_that_is_written")
def key_kept_in_answers(patch: Patch) -> None:
    patch(Mask, "body", lambda self, data: data)
    patch(Mask, "tree", lambda self, value: value)


@removal(
    "T2", "A key that an answer escapes or compresses is kept.", SECRETS + "test_the_key_is_in_no_byte_that_is_written"
)
def key_kept_where_it_is_escaped(patch: Patch) -> None:
    patch(Mask, "tree", lambda self, value: value)


@removal("T2", "Records of the log are written as they are.", SECRETS + "test_no_record_of_a_log_holds_the_key")
def log_as_it_is(patch: Patch) -> None:
    patch(secrecy.Discreet, "format", logging.Formatter.format)


@removal(
    "T2",
    "Credentials of a store are text like any other.",
    "tests/cli/test_store.py::test_no_log_line_holds_a_credential",
)
def store_keys_logged(patch: Patch) -> None:
    patch(secrecy, "STORE_KEYS", re.compile("$^"))


@removal(
    "T2",
    "What a store answers is repeated.",
    "tests/storage/test_cloud.py::test_nothing_that_a_request_held_is_repeated",
)
def store_repeated(patch: Patch) -> None:
    patch(cloud, "told_error", lambda error, *rest: StoreDown(str(error)))


@removal(
    "T2", "A bug's traceback is written as it is.", SECRETS + "test_a_bug_of_ours_shows_where_it_is_and_not_the_key"
)
def traceback_as_it_is(patch: Patch) -> None:
    patch(secrecy, "told", lambda error, _: "".join(traceback.format_exception(error)))


@removal(
    "T8",
    "What is shown of a history is not redacted.",
    SECRETS + "test_a_signed_address_is_in_the_ledger_and_in_nothing",
)
def addresses_shown(patch: Patch) -> None:
    patch(history, "redact", lambda value: value)


@removal(
    "T27",
    "A prompt is written beside the batch's own files.",
    SECRETS + "test_a_prompt_is_in_the_ledger_and_the_results_alone",
)
def prompts_elsewhere(patch: Patch) -> None:
    original = elsewhere.note_folder

    def noting(manifest: Path, root: Path, shelf: Any) -> Any:
        shelf.update("prompts", lambda record: {**record, "text": manifest.read_text()})
        return original(manifest, root, shelf)

    patch(session, "note_folder", noting)


# Addresses


@removal(
    "T3",
    "A vendor's address is used as it comes.",
    ADDRESSES + "test_no_address_that_a_vendor_sends_is_followed_elsewhere",
)
def addresses_followed(patch: Patch) -> None:
    patch(modelmax_paths, "path_on", lambda origin, text, shape: text)
    patch(Origin, "url", lambda self, path: path if "://" in path else self.root + path)
    patch(venice, "download_url", lambda origin, text, suffixes: text)
    patch(http, "download_url", lambda origin, text, suffixes: text)


@removal("T4", "Redirects are followed.", ADDRESSES + "test_no_call_of_a_provider_follows_a_redirect")
def redirects_followed(patch: Patch) -> None:
    original = http.open_session

    def following(*arguments: Any) -> Any:
        made = original(*arguments)
        request = made.request
        made.request = lambda *args, **rest: request(*args, **{**rest, "allow_redirects": True})  # type: ignore[method-assign]
        return made

    patch(http, "open_session", following)


@removal(
    "T4",
    "A download's redirects are not checked.",
    ADDRESSES + "test_a_download_is_redirected_to_allowed_addresses_alone",
)
def downloads_redirected_anywhere(patch: Patch) -> None:
    patch(http, "download_url", lambda origin, text, suffixes: text)
    patch(http, "is_loopback", lambda host: host.startswith("127."))


@removal("T5", "A name may lead into the user's network.", ADDRESSES + "test_a_name_that_leads_into_the_users_network")
def private_addresses(patch: Patch) -> None:
    patch(http, "is_public", lambda address: True)


@removal("T6", "Certificates are not checked.", ADDRESSES + "test_a_server_that_cannot_prove_its_name_is_told_nothing")
def unchecked_tls(patch: Patch) -> None:
    def unchecked() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context

    patch(network, "tls_context", unchecked)


@removal("T6", "Plain http is taken anywhere.", ADDRESSES + "test_a_key_never_travels_without_tls")
def plain_http(patch: Patch) -> None:
    from pipeline.providers import origin

    patch(origin, "is_loopback", lambda host: True)


@removal(
    "T7", "Proxies and .netrc are taken from the environment.", ADDRESSES + "test_the_environment_moves_no_request"
)
def environment_trusted(patch: Patch) -> None:
    original = transport.aiohttp.ClientSession

    def trusting(**given: Any) -> Any:
        return original(**{**given, "trust_env": True})

    patch(transport.aiohttp, "ClientSession", trusting)


@removal("T7", "TLS secrets go where a variable says.", ADDRESSES + "test_tls_secrets_are_written_nowhere")
def tls_secrets_written(patch: Patch) -> None:
    patch(network, "tls_context", ssl.create_default_context)


@removal("T7", "A file of keys may hold anything.", ADDRESSES + "test_a_file_of_keys_cannot_move_the_base_url")
def any_variable_in_a_file(patch: Patch) -> None:
    patch(keys, "KEYS", re.compile(".*"))


# Files


@removal("T9", "A row's id is taken as it is.", FILES + "test_no_name_of_a_manifest_leaves_the_folder")
def any_id(patch: Patch) -> None:
    patch(columns, "is_id", lambda text: True)


@removal("T9", "A matrix value names files as it is.", FILES + "test_no_two_items_share_a_name_on_any_file_system")
def any_value_in_an_id(patch: Patch) -> None:
    patch(ids, "labelled", lambda text, content: text)


def files_that_follow(patch: Patch) -> None:
    patch(
        SystemFiles, "create", lambda self, path, mode=0o666: os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode)
    )


@removal(
    "T10", "A part is written through a link.", FILES + "test_a_link_under_the_name_of_a_part_is_not_written_through"
)
def links_written_through(patch: Patch) -> None:
    files_that_follow(patch)


@removal(
    "T10", "A clip takes the place of what bears its name.", FILES + "test_a_link_under_a_final_name_is_left_alone"
)
def names_taken(patch: Patch) -> None:
    patch(SystemFiles, "link", lambda self, source, target: shutil.copyfile(source, target))


@removal("T10", "A ledger may be a link.", FILES + "test_a_ledger_that_is_a_link_is_refused_in_a_sentence")
def any_ledger_file(patch: Patch) -> None:
    patch(system_effects, "open_database", opens_anything)


def opens_anything(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


@removal(
    "T11",
    "Everybody may read what the umask allows.",
    FILES + "test_what_holds_prompts_or_receipts_is_its_owners_alone",
)
def rights_for_everybody(patch: Patch) -> None:
    patch(databases, "PRIVATE", 0o666)
    patch(emergency, "PRIVATE", 0o666)


@removal("T18", "An input is opened wherever it is.", FILES + "test_nothing_outside_the_manifests_folder_is_sent")
def inputs_from_anywhere(patch: Patch) -> None:
    def anywhere(folder: Path, name: str) -> tuple[Path, tuple[str, ...]]:
        whole = (folder / Path(name).expanduser()).resolve()
        return Path("/"), whole.relative_to("/").parts

    patch(inputs, "_really_inside", anywhere)


@removal("T22", "A statement is put together of text.", FILES + "test_no_text_is_ever_a_part_of_a_statement")
def statements_of_text(patch: Patch) -> None:
    original = Writer.write_meta

    def write_meta(self: Writer, values: Any) -> None:
        for key, value in values.items():
            self._database.execute(f"DELETE FROM meta WHERE key = '{key}' AND value <> '{json.dumps(value)}'")
        original(self, values)

    patch(Writer, "write_meta", write_meta)


@removal(
    "T23", "A ledger may hold anything.", FILES + "test_a_file_that_no_run_of_ours_wrote_is_refused_and_left_as_it_was"
)
def strange_ledgers(patch: Patch) -> None:
    patch(database, "_refuse_strange", lambda *_, **__: None)


@removal("T23", "A ledger's triggers are taken as they are.", FILES + "test_a_trigger_that_somebody_put_into_a_ledger")
def strange_triggers(patch: Patch) -> None:
    patch(database, "refresh_rules", lambda _: None)


# Manifests


@removal(
    "T12",
    "Aliases may stand for any number of values.",
    MANIFESTS + "test_a_bomb_is_told_at_once_and_costs_little[a billion",
)
def aliases_without_end(patch: Patch) -> None:
    patch(load, "ALIASED_NODES_FREE", 10**12)


@removal("T12", "Nesting has no end.", MANIFESTS + "test_a_bomb_is_told_at_once_and_costs_little[br")
def nesting_without_end(patch: Patch) -> None:
    patch(load, "DEPTH_MAX", 10**9)


@removal(
    "T13", "Unquoted text is read as YAML 1.1 reads it.", MANIFESTS + "test_unquoted_text_means_what_it_looks_like"
)
def old_yaml(patch: Patch) -> None:
    import yaml

    patch(load, "read_plain", yaml.safe_load)
    patch(load, "MAYBE_NOT_TEXT", frozenset(map(chr, range(33, 127))))


@removal("T14", "The validator is given references.", MANIFESTS + "test_no_validator_is_given_a_reference_to_follow")
def references_left(patch: Patch) -> None:
    patch(validate, "without_references", lambda tree: {**tree, "properties": {**tree["properties"]}})
    patch(validate, "acceptor", lambda schema: lambda value: True)
    original = validate.schema

    def flattened() -> Any:
        tree = original()
        tree["properties"]["clips"]["items"] = {"$ref": "https://evil.example/entry.json", "properties": {}}
        tree["properties"]["parameters"] = tree["properties"]["limits"] = {"properties": {}}
        return tree

    patch(validate, "schema", flattened)


@removal("T26", "No sum is too large.", MANIFESTS + "test_a_large_sum_is_asked_about_before_anything_is_sent")
def any_sum(patch: Patch) -> None:
    patch(pricing, "ASKS_ABOVE_USD", float("inf"))


# Answers


@removal("T15", "What is compressed is expanded to its end.", ANSWERS + "test_a_compressed_bomb_stops_at_the_cap")
def bombs_expanded(patch: Patch) -> None:
    patch(exchange, "inflate", lambda body, encoding, cap: zlib.decompress(body, 47))


@removal("T16", "An answer may be of any size.", ANSWERS + "test_an_answer_larger_than_any_answer_is_none")
def answers_of_any_size(patch: Patch) -> None:
    original = http.Wire._call

    def uncapped(self: http.Wire, *arguments: Any, **rest: Any) -> Any:
        return original(self, *arguments, **{**rest, "cap_bytes": 1 << 40})

    patch(http.Wire, "_call", uncapped)


@removal("T16", "A clip may be of any size.", ANSWERS + "test_a_clip_without_end_stops_at_the_limit")
def clips_of_any_size(patch: Patch) -> None:
    def count(self: Any, size: int) -> None:
        self.received += size

    patch(download._Meter, "count", count)


@removal("T17", "JSON is taken as Python reads it.", ANSWERS + "test_what_is_no_sound_json_is_a_doubt_and_nothing_else")
def any_json(patch: Patch) -> None:
    patch(exchange, "decode_object", json.loads)


# Output


@removal("T19", "Nothing in a page is escaped.", OUTPUT + "test_no_text_of_a_stranger_becomes_a_part_of_the_page")
def page_without_escapes(patch: Patch) -> None:
    import jinja2

    original = jinja2.Environment.__init__

    def unescaped(self: Any, *arguments: Any, **rest: Any) -> None:
        original(self, *arguments, **{**rest, "autoescape": False})

    patch(jinja2.Environment, "__init__", unescaped)


@removal("T20", "Text is printed as it is.", OUTPUT + "test_no_text_of_a_stranger_reaches_the_terminal_as_it_is")
def terminal_obeys(patch: Patch) -> None:
    patch(console, "OBEYED", frozenset())


@removal("T20", "A record of the log may have lines.", OUTPUT + "test_a_log_record_is_one_line")
def log_obeys(patch: Patch) -> None:
    patch(main, "log_handler", logging.StreamHandler)
    patch(secrecy, "plain", lambda text: text)


@removal("T21", "A cell is written as it is.", OUTPUT + "test_no_cell_of_a_spreadsheet_is_a_formula")
def formulas(patch: Patch) -> None:
    patch(spreadsheet, "FORMULA", ("\0",))


# Supply


@removal("T24", "A child has the whole environment.", SUPPLY + "test_no_child_of_a_rehearsal_has_a_key")
def children_with_keys(patch: Patch) -> None:
    patch(rehearsal, "without_keys", dict)


@removal(
    "T24",
    "The child that tries a lock has the whole environment.",
    SUPPLY + "test_the_child_that_tries_a_lock_has_no_key",
)
def lock_child_with_keys(patch: Patch) -> None:
    patch(locks, "without_keys", dict)


@removal("T25", "A lock has no hashes.", SUPPLY + "test_every_package_of_a_lock_is_one_version_with_hashes")
def lock_without_hashes(patch: Patch) -> None:
    weakened = Path(mkdtemp(prefix="clipmill-removed-"))
    original = Path.read_text

    def read_text(self: Path, *arguments: Any, **rest: Any) -> str:
        text = original(self, *arguments, **rest)
        return re.sub(r" \\\n    --hash=\S+", "", text) if self.parent.name == "requirements" else text

    weakened.rmdir()
    patch(Path, "read_text", read_text)


@removal("T25", "A release with a known hole is let in.", SUPPLY + "test_no_release_with_a_known_hole_is_let_in")
def old_releases(patch: Patch) -> None:
    original = Path.read_text

    def read_text(self: Path, *arguments: Any, **rest: Any) -> str:
        text = original(self, *arguments, **rest)
        return text.replace("aiohttp>=3.14.4", "aiohttp>=3.9") if self.name == "pyproject.toml" else text

    patch(Path, "read_text", read_text)
