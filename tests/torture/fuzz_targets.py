"""What is fuzzed: the manifest's reader, the providers' JSON answers, the walk through an MP4.

A target takes a random and tries one input. What it returns is empty, or a sentence that says what was wrong; what it
raises is wrong as well. Providers are found through their dialects, so a new one is fuzzed without a word here.
"""

from __future__ import annotations

import json
import math
import zlib
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import resources
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from aiohttp import web

from pipeline.clips.mp4 import ClipFacts, walk
from pipeline.errors import BrokenClip, ProblemsFound
from pipeline.manifest.validate import read_manifest
from pipeline.planning.plan import make_plan, offline_providers
from pipeline.providers.answers import Accepted, Ambiguous, Claimed, Failed, Running, Streaming
from pipeline.providers.base import Account
from pipeline.providers.decode import Malformed, decode_object
from pipeline.system.effects import system
from tests.manifest.golden import GOLDEN
from tests.providers.dialect import UNIONS
from tests.providers.dialects import DIALECTS
from tests.providers.loopback import CANARY, DROP, MP4, Loopback
from tests.support import mp4s
from tests.support.simulation.world import World
from tests.torture.mutation import worse_bytes, worse_json, worse_size

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from pipeline.manifest.model import Manifest
    from tests.providers.dialect import Dialect

REPOSITORY = Path(__file__).parents[2]
PLANNED_MOST = 2_000
"""Manifests of more items are read and not planned: a million items is sound, and takes its time."""
HOST, PORT = "127.0.0.1", 8000
NOBODY = Loopback(lambda _: DROP, port=PORT)
"""The vendor's address, as a dialect wants it."""


# The manifest's reader

YAML_WORDS = (
    *(
        b"- ",
        b"? ",
        b": ",
        b"{",
        b"}",
        b"[",
        b"]",
        b", ",
        b"\n",
        b"  ",
        b"\t",
        b"#",
        b"|\n",
        b">-\n",
        b"---\n",
        b"...\n",
    ),
    *(b"&a ", b"*a", b"<<: *a\n", b"!!python/object/apply:os.system ", b"!!set ", b"!!binary ", b"!x ", b"!!int "),
    *(b"~", b".nan", b"-.inf", b"1e999", b"0o17", b"0x1F", b"16:9", b"0012", b"no", b"2024-01-01", b"9" * 1001),
    *(b"'", b'"', b"\\", b'"\\ud800"', b'"\\x00"', b" ", b"{{", b"{a.b}", b"%YAML 1.1\n", b"x-a: ", b"id: "),
    *(b"version: ", b"clips:\n", b"matrix: {a: [1, 2]}", b"repeat: 3", b"rows: x.csv", b"metadata: {}", b"exclude: []"),
    *(b"image: /etc/passwd", b"options: {a: 1}", b"limits: {}", b"prices: {}", b"providers: {}", b"parameters: {}"),
    *("\ufeff".encode(), "\x85".encode(), "\u202e".encode(), "\u2028".encode(), "é".encode()),
    *(b"\x00", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xff\xfe"),
)


def manifests() -> list[bytes]:
    """Return sound manifests, and all those that are known to be wrong."""
    sound = [path.read_bytes() for path in sorted((REPOSITORY / "manifests").glob("*.yaml"))]
    wrong = [text if isinstance(text, bytes) else text.encode() for text, _ in GOLDEN.values()]
    return sound * 3 + [each for each in wrong if len(each) < 20_000]


@dataclass
class Manifests:
    """Reads worsened manifests, and plans those that are still sound."""

    folder: Path
    corpus: list[bytes] = field(default_factory=manifests)

    def __post_init__(self) -> None:
        self._providers = offline_providers(system())

    def attempt(self, chance: random.Random) -> str:
        text = worse_bytes(chance, chance.choice(self.corpus), self.corpus, YAML_WORDS)
        path = self.folder / "m.yaml"
        path.write_bytes(text)
        manifest, problems = read_manifest(path)
        if manifest is not None and items_of(manifest) <= PLANNED_MOST:
            try:
                problems = [*problems, *make_plan(manifest, self._providers).warnings]
            except ProblemsFound as found:
                problems = [*problems, *found.problems]
        lines = len(text.decode(errors="replace").splitlines()) + 1  # as YAML counts: U+0085 and U+2028 end one too
        for problem in problems:
            inside = problem.file == str(path)
            if not problem.message or (inside and not 0 <= problem.line <= lines):
                return f"{problem!r} names no place in a file of {lines} lines"
            if not problem.message.isprintable():
                return f"{problem.message!r} holds what a terminal would obey"
        return "" if manifest is not None or problems else "it is no manifest, and nobody says why"


def items_of(manifest: Manifest) -> int:
    """Return how many items a manifest asks for, about."""
    return sum(entry.repeat * prod(len(values) for values in entry.matrix.values()) for entry in manifest.entries)


# The walk through an MP4

BOXES = (
    *(b"ftyp", b"moov", b"mvhd", b"trak", b"tkhd", b"mdia", b"mdhd", b"hdlr", b"minf", b"stbl", b"stsd", b"stts"),
    *(b"stsz", b"stz2", b"mdat", b"moof", b"mfhd", b"traf", b"tfhd", b"tfdt", b"trun", b"mvex", b"trex", b"mehd"),
    *(b"sidx", b"avc1", b"vide", b"soun", b"free", b"uuid"),
)


def clips() -> list[bytes]:
    """Return whole MP4s of many makes, and a real one whose pictures are cut away."""
    sound = mp4s.track(track_id=2, handler="soun", codec="mp4a", samples=94, sample_ticks=1024, timescale=48000)
    real = (resources.files("pipeline.sandbox") / "templates" / "landscape.mp4").read_bytes()
    return [
        mp4s.minimal(),
        mp4s.minimal(mp4s.track(), sound),
        mp4s.minimal(moov_first=False, large=True),
        mp4s.minimal(mp4s.track(wide=True), open_end=True),
        mp4s.fragmented(),
        mp4s.fragmented(mp4s.fragment(1, row_ticks=512), mp4s.fragment(2, sample_ticks=3, start=9), index=True),
        real[:20_000],
    ]


@dataclass
class Boxes:
    """Walks worsened clips."""

    corpus: list[bytes] = field(default_factory=clips)

    def attempt(self, chance: random.Random) -> str:
        data = chance.choice(self.corpus)
        for _ in range(chance.choice((0, 1, 1, 2, 4))):
            data = worse_size(chance, data, BOXES)
        if chance.random() < 0.7:
            data = worse_bytes(chance, data, self.corpus, BOXES)
        try:
            facts = walk(lambda offset, size: data[offset : offset + size], len(data))
        except BrokenClip as error:
            return "" if str(error).isprintable() else f"{error!r} holds what a terminal would obey"
        told = json.dumps(facts.to_json(), allow_nan=False)
        if ClipFacts.from_json(json.loads(told)) != facts:
            return f"{facts} does not come back from a ledger"
        sane = facts.frames > 0 and facts.width > 0 and facts.height > 0 and facts.codec.isprintable()
        return "" if sane and math.isfinite(facts.duration_s + facts.fps) else f"{facts} is no clip"


# The providers' answers

NAMES = (
    *("request_id", "queue_id", "id", "model", "status", "status_url", "response_url", "download_url", "data", "url"),
    *("usage", "video_seconds", "video_resolution", "quote", "execution_duration", "progress", "object", "seconds"),
    *("error", "message", "type", "code", "details", "issues", "credits_refunded", "model_spec", "constraints"),
)
TEXTS = (
    *("", "COMPLETED", "FAILED", "IN_QUEUE", "PROCESSING", "completed", "failed", "job-1", "veo-3", "video/mp4", "0"),
    *("/v1/queue/veo-3/requests/job-1", "/v1/queue/veo-3/requests/job-1/status", "/v1/queue/m/requests/x/content/0"),
    *("https://evil.example/x", "//evil.example/x", "http://127.0.0.1:8000/clip", "https://media.venice.ai/x", "@evil"),
    *("/v1/queue/../admin", "/v1/queue/m/requests/x/%2e%2e", "http://[::1]/x", "file:///etc/passwd", "../../x"),
    *(CANARY, f"Bearer {CANARY}", "data:video/mp4;base64,AAAA", "data:video/mp4;base64,#"),
)
REFUSALS = (400, 401, 402, 403, 404, 408, 409, 410, 413, 415, 422, 425, 429)
STATUSES = (*[200] * 12, 201, 202, 204, 206, 301, 302, 307, *REFUSALS, 500, 502, 503, 504, 520, 599)
HEADERS = {
    "Content-Type": ("application/json", "text/html", "video/mp4", ""),
    "Content-Encoding": ("gzip", "deflate", "br", "identity", "x-gzip"),
    "Retry-After": ("0", "11", "-1", "nan", "1e9", "Fri, 31 Dec 9999 23:59:59 GMT", "x"),
    "x-ratelimit-reset-requests": ("0", "1e12", "-5", "inf"),
    "X-Balance-Remaining": ("1.5", "nan", "x"),
    "Location": ("https://evil.example/", f"/x?{CANARY}"),
    "Set-Cookie": (f"a={CANARY}",),
    "X-Venice-Model-Deprecation-Warning": ("soon", CANARY),
}
ERRORS: tuple[Any, ...] = (
    {"error": "it did not work"},
    {"error": {"message": "no", "code": "X", "type": "y", "credits_refunded": True}},
    {"error": "x", "code": "INVALID_MODEL", "details": {"a": {"_errors": ["b"]}}, "issues": [{"path": ["x"]}]},
    {"detail": "x"},
)


def documented(dialect: Dialect, method: str) -> list[dict[str, Any]]:
    """Return what a vendor is documented to answer to a call, as far as it is JSON; never nothing."""
    found = []
    for example in dialect.examples():
        try:
            record = json.loads(example.script.data.partition(b"\r\n\r\n")[2])
        except ValueError:
            continue
        if example.method == method and isinstance(record, dict):
            found.append(record)
    return found or [{}]


@dataclass
class Answers:
    """Calls the providers, in memory, and answers with worsened answers. The mutable state is what is answered next."""

    seed: int
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    asked: list[str] = field(default_factory=list)

    @contextmanager
    def open(self) -> Iterator[None]:
        """Open a world with a vendor in it, and one provider of each dialect."""
        with World(self.seed) as world:
            self._world = world
            app = web.Application(client_max_size=1 << 26)
            app.router.add_route("*", "/{rest:.*}", self._answer)
            world.serve(app, HOST, PORT)
            self._known, world.loop.resolve = world.loop.resolve, self._resolve
            effects = world.effects(world.process("caller"))
            self._bodies = {(d.can.name, method): documented(d, method) for d in DIALECTS for method in d.methods}
            self._providers = [
                (each, each.factory(Account(key=CANARY, base_url=f"http://{HOST}:{PORT}{each.path}"), effects))
                for each in DIALECTS
            ]
            try:
                yield
            finally:
                for _, provider in self._providers:
                    world.run(provider.close())

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        return web.Response(status=self.status, headers=self.headers, body=self.body)

    def _resolve(self, host: str) -> Any:
        self.asked.append(f"//{host}")
        return self._known(host)

    def attempt(self, chance: random.Random) -> str:
        dialect, provider = chance.choice(self._providers)
        name = chance.choice(dialect.methods)
        self._draw(chance, dialect, name)
        held = dialect.held()
        if name in {"look", "claim"} and chance.random() < 0.3:
            held = type(held)(job_id=chance.choice(TEXTS), model=chance.choice(TEXTS), answer=_once_taken(chance, held))
        self.asked.clear()
        calls = dialect.calls(provider, NOBODY, held)
        calls["fetch"] = lambda: provider.fetch(held, _output(chance, dialect))
        outcome = self._world.run(calls[name]())
        if isinstance(outcome, Streaming):
            self._world.run(outcome.source.close())
        return self._judge(dialect, name, outcome)

    def _draw(self, chance: random.Random, dialect: Dialect, name: str) -> None:
        self.status = chance.choice(STATUSES)
        is_error = self.status >= 300 and chance.random() < 0.8
        base = chance.choice(ERRORS) if is_error else chance.choice(self._bodies[dialect.can.name, name])
        self.body = worse_json(chance, base, NAMES, TEXTS)
        if name in {"look", "fetch"} and chance.random() < 0.1:
            self.body = worse_bytes(chance, MP4, [self.body])
        picked = chance.sample(sorted(HEADERS), chance.choice((0, 0, 1, 2)))
        self.headers = {header: chance.choice(HEADERS[header]) for header in picked}
        if self.headers.get("Content-Encoding") in {"gzip", "deflate"} and chance.random() < 0.7:
            squeeze = zlib.compressobj(wbits=31 if self.headers["Content-Encoding"] == "gzip" else 15)
            self.body = squeeze.compress(self.body) + squeeze.flush()

    def _judge(self, dialect: Dialect, name: str, outcome: Any) -> str:
        if not isinstance(outcome, get_args(UNIONS[name])):
            return f"{name} answered {outcome!r}"
        hosts = [each[2:] for each in self.asked if each.startswith("//")]
        strangers = [host for host in hosts if not _is_ours(host, dialect.can.download_hosts)]
        if strangers or len(self.asked) - len(hosts) > 4:
            return f"{name} asked {self.asked}"
        if name == dialect.billing and not is_safe(self.status, outcome):
            return f"{name}, which bills, was answered {self.status} {self.body[:80]!r}, which was read as {outcome!r}"
        if isinstance(outcome, Accepted) and not outcome.receipt.job_id.strip():
            return "a job without an id was accepted"
        told = repr(outcome)
        if not isinstance(outcome, Streaming):
            told += json.dumps(asdict(outcome), allow_nan=False, ensure_ascii=False, default=str).encode().decode()
        return f"{name} shows the key: {told[:300]}" if CANARY in told else ""


def is_safe(status: int, outcome: Any) -> bool:
    """Tell whether an answer to a call that bills was read as nothing that would have it made again.

    After 2xx the vendor may have billed; after 5xx a gateway may have passed the call on. 503 is documented.
    """
    if 200 <= status < 300:
        return isinstance(outcome, Accepted | Claimed | Ambiguous | Running | Failed)
    if status >= 500 and status != 503:
        return isinstance(outcome, Ambiguous)
    return True


def _once_taken(chance: random.Random, held: Any) -> dict[str, Any]:
    """Return an answer as a ledger may hold it: whatever it says, it was taken for a JSON object once."""
    try:
        return decode_object(worse_json(chance, dict(held.answer), NAMES, TEXTS))
    except Malformed:
        return {}


def _is_ours(host: str, suffixes: tuple[str, ...]) -> bool:
    return host == HOST or any(host.endswith(suffix) for suffix in suffixes)


def _output(chance: random.Random, dialect: Dialect) -> Any:
    sound = dialect.output(NOBODY)
    if chance.random() < 0.6:
        return sound
    return type(sound)(index=0, location=dict.fromkeys(sound.location, chance.choice(TEXTS)))


# All of them


@contextmanager
def target(name: str, seed: int, folder: Path) -> Iterator[Callable[[random.Random], str]]:
    """Make a target ready and yield what tries one input."""
    match name:
        case "manifest":
            yield Manifests(folder).attempt
        case "boxes":
            yield Boxes().attempt
        case "answers":
            answers = Answers(seed)
            with answers.open():
                yield answers.attempt
        case _:
            raise ValueError(name)


TARGETS = ("manifest", "answers", "boxes")
