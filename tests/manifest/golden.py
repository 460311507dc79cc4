"""Manifests with something wrong in them, and every problem as it is told."""
# ruff: noqa: E501  # a sentence that a user reads is shown here as one line

from __future__ import annotations

from tests.manifest.written import HEAD, clip

GOLDEN = {
    "unknown parameter": (
        clip("parameters: {duration: 8}"),
        ["8:18: Unknown key `duration`: did you mean `duration_seconds`?"],
    ),
    "camel case": (
        clip("parameters:", "  aspectRatio: 16:9"),
        ["9:7: Unknown key `aspectRatio`: did you mean `aspect_ratio`?"],
    ),
    "vendor's own parameter": (
        clip("parameters: {seed: 7}"),
        [
            "8:18: Unknown key `seed`: it is not a neutral parameter. A provider's own field goes under the clip's `options`."
        ],
    ),
    "parameter one level too high": (
        clip("duration_seconds: 8"),
        ["8:5: Unknown key `duration_seconds`: it belongs under `parameters`."],
    ),
    "parameter at the top": (
        HEAD + "resolution: 720p\nclips: [{id: a, prompt: b}]\n",
        ["5:1: Unknown key `resolution`: it belongs under `parameters`."],
    ),
    "prompt at the top": (
        HEAD + "prompt: x\nclips: [{id: a, prompt: b}]\n",
        ["5:1: Unknown key `prompt`: it belongs to an entry of `clips`."],
    ),
    "id within parameters": (
        clip("parameters: {repeat: 2}"),
        ["8:18: Unknown key `repeat`: it belongs to the entry itself, one level up."],
    ),
    "limits within a clip": (
        clip("limits: {in_flight: 2}"),
        ["8:5: Unknown key `limits`: it belongs at the top of the manifest."],
    ),
    "cap within a clip": (
        clip("max_cost_usd: 3"),
        ["8:5: Unknown key `max_cost_usd`: it belongs under `limits` at the top."],
    ),
    "x- key in a clip": (
        clip("x-note: mine"),
        [
            "8:5: Unknown key `x-note`: keys of your own that begin with `x-` stand at the top only. Notes go under `metadata`."
        ],
    ),
    "misspelt top key": (
        HEAD + "clip: []\nclips: [{id: a, prompt: b}]\n",
        ["5:1: Unknown key `clip`: did you mean `clips`?"],
    ),
    "hopeless key": (
        clip("zzzzzz: 1"),
        [
            "8:5: Unknown key `zzzzzz`. Known here: `id`, `prompt`, `provider`, `model`, `parameters`, `options`, `matrix`, `exclude`, `rows`, `repeat`, `metadata`."
        ],
    ),
    "text for seconds": (
        clip('parameters: {duration_seconds: "8s"}'),
        ["8:36: `duration_seconds` must be a whole number of seconds, not text; write 8."],
    ),
    "fraction of seconds": (
        clip("parameters: {duration_seconds: 8.0}"),
        ["8:36: `duration_seconds` must be a whole number of seconds, not 8.0; write 8."],
    ),
    "fraction": (
        clip("parameters: {duration_seconds: 7.5}"),
        ["8:36: `duration_seconds` must be a whole number of seconds, not 7.5."],
    ),
    "zero seconds": (
        clip("parameters: {duration_seconds: 0}"),
        ["8:36: `duration_seconds` must be at least 1, not 0."],
    ),
    "an hour and more": (
        clip("parameters: {duration_seconds: 3601}"),
        ["8:36: `duration_seconds` must be at most 3600, not 3601."],
    ),
    "yes": (
        clip("parameters: {generate_audio: yes}"),
        ["8:34: `generate_audio` must be true or false, not text; write true."],
    ),
    "resolution": (
        clip("parameters: {resolution: 720}"),
        ["8:30: `resolution` must be text, not 720; write 720p."],
    ),
    "single reference": (
        clip("parameters: {reference_images: leaf.png}"),
        ["8:36: `reference_images` must be a list, not text; write it as one: [leaf.png]."],
    ),
    "list of numbers": (
        clip("parameters: {reference_images: [leaf.png, 7]}"),
        ['8:47: A value of `reference_images` must be text, not 7; quote it: "7".'],
    ),
    "empty list": (
        clip("parameters: {reference_images: []}"),
        ["8:36: `reference_images` is empty. Give it a value, or remove it."],
    ),
    "parameters as list": (
        clip("parameters: [8]"),
        ["8:17: `parameters` must be a mapping, not a list."],
    ),
    "number as id": (
        HEAD + "clips:\n  - id: 0012\n    prompt: x\n",
        ['6:9: `id` must be text, not 0012; quote it: "0012".'],
    ),
    "true as id": (
        HEAD + "clips:\n  - id: true\n    prompt: x\n",
        ['6:9: `id` must be text, not true; quote it: "true".'],
    ),
    "null as id": (
        HEAD + "clips:\n  - id: ~\n    prompt: x\n",
        ["6:9: `id` has no value. It must be text. If `~` is meant as text, quote it."],
    ),
    "space in id": (
        HEAD + "clips:\n  - id: my clip\n    prompt: x\n",
        [
            "6:9: `id` must be letters, digits, `-` and `_`, begin with a letter or a digit, have at most 100 characters, and hold no `__`; `my clip` does not fit, `my-clip` would."
        ],
    ),
    "double underscore in id": (
        HEAD + "clips:\n  - id: a__1\n    prompt: x\n",
        [
            "6:9: `id` must be letters, digits, `-` and `_`, begin with a letter or a digit, have at most 100 characters, and hold no `__`; `a__1` does not fit, `a_1` would."
        ],
    ),
    "number as prompt": (
        HEAD + "clips:\n  - id: a\n    prompt: 1984\n",
        ['7:13: `prompt` must be text, not 1984; quote it: "1984".'],
    ),
    "blank prompt": (
        HEAD + "clips:\n  - id: a\n    prompt: ' '\n",
        ["7:13: `prompt` must say what the clip shows; it is empty."],
    ),
    "no prompt": (
        HEAD + "clips:\n  - id: a\n",
        ["6:5: This entry has no `prompt`. Say what the clip shows."],
    ),
    "no id": (
        HEAD + "clips:\n  - prompt: x\n",
        ["6:5: This entry has no `id`. Add a line such as `id: turtle`."],
    ),
    "entry is text": (
        HEAD + "clips:\n  - a turtle\n",
        ["6:5: An entry of `clips` must be a mapping, not text."],
    ),
    "clips is a mapping": (
        HEAD + "clips:\n  turtle: {prompt: x}\n",
        ["6:3: `clips` must be a list, not a mapping; begin each entry with `- id:`."],
    ),
    "clips is empty": (
        HEAD + "clips: []\n",
        ["5:8: `clips` is empty. Add an entry: `- id: first` with a `prompt`."],
    ),
    "clips has no value": (
        HEAD + "clips:\n",
        ["5:7: `clips` has no value. It must be a list."],
    ),
    "nothing but a version": (
        "version: 1\n",
        [
            "1:1: The manifest has no `name`. Add a line such as `name: coral-reefs`.",
            "1:1: The manifest has no `clips`. Add a line such as `clips:`.",
        ],
    ),
    "version 2": (
        HEAD.replace("1", "2") + "clips: [{id: a, prompt: b}]\n",
        ["1:10: `version` must be 1, not 2."],
    ),
    "name in capitals": (
        HEAD.replace("reef", "Coral Reefs") + "clips: [{id: a, prompt: b}]\n",
        [
            "2:7: `name` must be small letters, digits, `-` and `_`, begin with a letter or a digit, and have at most 100 characters; `Coral Reefs` does not fit, `coral-reefs` would."
        ],
    ),
    "name is a number": (
        HEAD.replace("reef", "2024") + "clips: [{id: a, prompt: b}]\n",
        ['2:7: `name` must be text, not 2024; quote it: "2024".'],
    ),
    "ids that differ in case": (
        HEAD + "clips:\n  - {id: Turtle, prompt: x}\n  - {id: wave, prompt: x}\n  - {id: turtle, prompt: x}\n",
        ["8:10: The id `turtle` is taken by the entry on line 6; ids must differ in more than case."],
    ),
    "no provider": (
        "version: 1\nname: reef\nmodel: veo-3\nclips:\n  - {id: a, prompt: x, provider: venice}\n  - {id: b, prompt: x}\n  - {id: c, prompt: x}\n",
        [
            "6:5: This entry and 1 more have no `provider`, and the top level names none for all. Add one, such as `provider: modelmax`."
        ],
    ),
    "no model": (
        "version: 1\nname: reef\nprovider: venice\nclips:\n  - {id: a, prompt: x}\n",
        ["5:5: This entry has no `model`, and the top level names none for all. Add one, such as `model: veo-3`."],
    ),
    "placeholder that the matrix lacks": (
        clip("matrix: {animal: [fox]}").replace("A turtle", "A {animl}"),
        ["7:13: The prompt needs `{animl}`, and the matrix has no such name; did you mean `animal`?"],
    ),
    "open brace": (
        clip("matrix: {animal: [fox]}").replace("A turtle", '"A {animal"'),
        ["7:13: A `{` is never closed. Write `{{` for the brace itself."],
    ),
    "empty braces": (
        clip("matrix: {animal: [fox]}").replace("A turtle", '"A {}"'),
        ["7:13: `{}` names nothing. Write `{name}`, or `{{}}` for the braces themselves."],
    ),
    "value listed twice": (
        clip("matrix: {animal: [fox, deer, fox]}").replace("A turtle", "A {animal}"),
        ["8:34: `animal` lists `fox` twice. Use `repeat` for more clips of the same kind."],
    ),
    "matrix value of the wrong type": (
        clip("matrix: {duration_seconds: [4, '8']}"),
        ["8:36: A value of `duration_seconds` must be a whole number, not text; write 8."],
    ),
    "matrix name without list": (
        clip("matrix: {animal: fox}").replace("A turtle", "A {animal}"),
        ["8:22: `animal` must be a list, not text; write it as one: [fox]."],
    ),
    "too many": (
        clip("matrix: {a: [1, 2]}", "repeat: 600000").replace("A turtle", "A {a}"),
        ["8:5: This makes 1,200,000 clips; 1,000,000 is the most for one entry. Split it."],
    ),
    "exclude without matrix": (
        clip("exclude: [{animal: fox}]"),
        ["8:5: `exclude` leaves out combinations of a `matrix`, and there is none."],
    ),
    "exclude of a stranger": (
        clip("matrix: {animal: [fox, deer]}", "exclude: [{animl: fox}, {animal: cat}]").replace(
            "A turtle", "A {animal}"
        ),
        [
            "9:16: The matrix has no `animl`; did you mean `animal`?",
            "9:38: The matrix does not list `cat` under `animal`; it has `fox`, `deer`.",
        ],
    ),
    "empty exclusion": (
        clip("matrix: {animal: [fox, deer]}", "exclude: [{}]").replace("A turtle", "A {animal}"),
        ["9:15: A value of `exclude` is empty. Give it a value, or remove it."],
    ),
    "rows elsewhere": (
        clip("rows: ../captions.csv"),
        [
            "8:11: `../captions.csv` must be a path within the manifest's folder. Put the table there, and name it from there."
        ],
    ),
    "rows of no known kind": (
        clip("rows: captions.xlsx"),
        ["8:11: `rows` must name a .csv, .jsonl or .parquet file; `captions.xlsx` does not fit."],
    ),
    "rows that are missing": (
        clip("rows: caption.csv"),
        ["8:11: There is no `caption.csv` in the manifest's folder; did you mean `captions.csv`?"],
    ),
    "repeat of zero": (
        clip("repeat: 0"),
        ["8:13: `repeat` must be at least 1, not 0."],
    ),
    "metadata as text": (
        clip("metadata: wild"),
        ["8:15: `metadata` must be a mapping, not text."],
    ),
    "cap of zero": (
        clip() + "limits: {max_cost_usd: 0}\n",
        ["8:24: `max_cost_usd` must be more than 0, not 0."],
    ),
    "cap in words": (
        clip() + "limits: {max_cost_usd: 25 USD}\n",
        ["8:24: `max_cost_usd` must be a number of US dollars, not text; write 25."],
    ),
    "cap for one provider": (
        clip() + "providers: {modelmax: {limits: {max_cost_usd: 5}}}\n",
        ["8:33: Unknown key `max_cost_usd`: it belongs under `limits` at the top."],
    ),
    "fraction in flight": (
        clip() + "limits: {in_flight: 1.5}\n",
        ["8:21: `in_flight` must be a whole number, not 1.5."],
    ),
    "price without provider": (
        clip() + "prices: {veo-3: {usd_per_second: 1}}\n",
        ["8:10: The key `veo-3` must be written `provider/model`, for example `modelmax/veo-3`."],
    ),
    "negative price": (
        clip() + "prices: {modelmax/veo-3: {usd_per_second: -1}}\n",
        ["8:43: `usd_per_second` must be at least 0, not -1."],
    ),
    "two prices": (
        clip() + "prices: {modelmax/veo-3: {usd_per_second: 1, usd_per_clip: 2}}\n",
        ["8:26: `modelmax/veo-3` takes either `usd_per_second` or `usd_per_clip`, not both."],
    ),
    "no price": (
        clip() + "prices: {modelmax/veo-3: {}}\n",
        ["8:26: The price of `modelmax/veo-3` is missing. Give `usd_per_second` or `usd_per_clip`."],
    ),
    "price as number": (
        clip() + "prices: {modelmax/veo-3: 0.4}\n",
        ["8:26: `modelmax/veo-3` must be a mapping, not 0.4."],
    ),
    "price of a misspelt model": (
        clip() + "prices: {modelmax/veo3: {usd_per_clip: 1}}\n",
        ["8:10: warning: No clip uses `modelmax/veo3`, and `modelmax/veo-3` has no price. Did you mean that?"],
    ),
    "misspelt provider settings": (
        clip() + "providers: {modelmx: {options: {a: 1}}}\n",
        ["8:13: warning: No clip uses the provider `modelmx`. Did you mean `modelmax`?"],
    ),
    "placeholder without matrix": (
        clip().replace("A turtle", "A {animal}"),
        ["7:13: warning: `{animal}` stays as it is: prompts are filled in only where there is a `matrix` or `rows`."],
    ),
    "zeros lost": (
        clip("metadata: {take: 007}"),
        ['8:22: warning: `007` is the number 7 in YAML. Quote it to keep its zeros: "007".'],
    ),
    "infinity": (
        clip("metadata: {score: .inf}"),
        ["8:23: `.inf` is a number that no request can carry. If it is text, quote it."],
    ),
    "duplicate key": (
        clip("prompt: Another"),
        ["8:5: The key `prompt` is written twice; it stands on line 7 already. Keep one."],
    ),
    "merge key": (
        clip("parameters: {<<: {resolution: 720p}}"),
        [
            "8:18: Merge keys (`<<`) are not part of YAML 1.2. Put what all clips share under `parameters` at the top; each clip's own parameters are laid over it."
        ],
    ),
    "colon in prompt": (
        HEAD + "clips:\n  - id: a\n    prompt: Reef: a turtle\n",
        [
            "7:17: A key cannot stand here. If the colon belongs to the text before it, quote that text; else check the indentation of this line."
        ],
    ),
    "unclosed bracket": (
        HEAD + "clips:\n  - id: a\n    parameters: {duration_seconds: 8\n  - id: b\n",
        [
            "8:7: The mapping opened with `{` on line 7 goes wrong here. Put commas between its pairs, and `}` at its end."
        ],
    ),
    "lonely text": (
        HEAD + "clips:\n  - id: a\n    prompt: x\nlonely\n",
        ["9:1: This line is neither `key: value` nor part of the text above it. Indent it, or add the colon."],
    ),
    "hostile key": (
        clip('"\\e[31mred\\u202e": 1'),
        [
            "8:5: Unknown key `\\x1b[31mred\\u202e`. Known here: `id`, `prompt`, `provider`, `model`, `parameters`, `options`, `matrix`, `exclude`, `rows`, `repeat`, `metadata`."
        ],
    ),
}
