"use strict";
// The gallery: filters, pages, previews and the viewer. All that others wrote reaches the page as text, never as markup.
(() => {
  const PAGE = 48;
  const PREVIEW_AFTER_MS = 140;
  const batch = JSON.parse(document.getElementById("batch").textContent);
  const place = Object.fromEntries(batch.columns.map((name, at) => [name, at]));
  const rows = batch.rows;
  const troubles = new Map(batch.troubles);
  const by = (id) => document.getElementById(id);
  const calm = matchMedia("(prefers-reduced-motion: reduce)");

  function get(row, name) {
    const value = row[place[name]];
    return name in batch.shared ? batch.shared[name][value] : value;
  }
  const standing = (row) => batch.states[get(row, "state")][0];
  const stateLabel = (row) => batch.states[get(row, "state")][1];

  function make(tag, properties = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name in node) node[name] = value; else node.setAttribute(name, value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
    return node;
  }
  const dot = (name) => make("i", { className: `dot is-${name}` });

  const number = new Intl.NumberFormat("en-US");
  function usd(amount) {
    if (amount === null) return "unknown";
    return "$" + amount.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: amount && amount < 0.01 ? 4 : 2 });
  }
  function seconds(amount) {
    if (amount < 9.95) return `${Number(amount.toFixed(1))} s`;
    const whole = Math.round(amount);
    if (whole < 60) return `${whole} s`;
    if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
    return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  }
  function size(bytes) {
    for (const [power, name] of [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]]) {
      if (bytes >= power) return `${(bytes / power).toFixed(bytes / power < 10 ? 1 : 0)} ${name}`;
    }
    return `${bytes} bytes`;
  }

  // What is chosen, and what matches it.
  const chosen = { state: "", model: "", accepted: "", trouble: "", words: [], order: "" };
  let matching = rows;
  let page = 0;
  let haystacks = null;

  function haystack(at) {
    haystacks ??= rows.map((row) =>
      [get(row, "id"), get(row, "prompt"), get(row, "message"), get(row, "model"), JSON.stringify(get(row, "metadata"))]
        .join("\n").toLowerCase());
    return haystacks[at];
  }
  function matches(row, at) {
    if (chosen.state && standing(row) !== chosen.state) return false;
    if (chosen.model && get(row, "model") !== chosen.model) return false;
    if (chosen.accepted && get(row, "accepted") !== (chosen.accepted === "yes")) return false;
    if (chosen.trouble && get(row, "trouble") !== chosen.trouble) return false;
    return chosen.words.every((word) => haystack(at).includes(word));
  }
  const ORDERS = {
    new: (one, other) => get(other, "submitted_at").localeCompare(get(one, "submitted_at")),
    cost: (one, other) => (get(other, "cost_usd") ?? 0) - (get(one, "cost_usd") ?? 0),
    slow: (one, other) => (get(other, "took_s") ?? 0) - (get(one, "took_s") ?? 0),
  };

  function apply() {
    matching = rows.filter(matches);
    if (chosen.order) matching.sort(ORDERS[chosen.order]);
    show(0);
  }
  function show(wanted) {
    const pages = Math.max(1, Math.ceil(matching.length / PAGE));
    page = Math.min(Math.max(0, wanted), pages - 1);
    const first = page * PAGE;
    by("cards").replaceChildren(...matching.slice(first, first + PAGE).map((row, at) => card(row, first + at)));
    by("nothing").hidden = matching.length > 0 || rows.length === 0;
    document.querySelector(".pager").hidden = pages === 1;
    by("page").value = page + 1;
    by("page").max = pages;
    by("pages").textContent = number.format(pages);
    by("earlier").disabled = page === 0;
    by("later").disabled = page === pages - 1;
    by("tally").textContent = tally(first);
    by("reset").hidden = matching.length === rows.length && !chosen.trouble;
  }
  function tally(first) {
    const all = number.format(rows.length);
    const shown = matching.length === rows.length ? `All ${all}` : `${number.format(matching.length)} of ${all}`;
    const last = Math.min(first + PAGE, matching.length);
    const range = matching.length > PAGE ? `, ${number.format(first + 1)} to ${number.format(last)} shown` : "";
    const reason = chosen.trouble ? ` · ${troubles.get(chosen.trouble)}` : "";
    return shown + range + reason;
  }

  // Cards.
  function card(row, at) {
    const frame = make("span", { className: "frame" });
    const file = get(row, "file");
    if (file) still(frame, row);
    else frame.append(make("span", { className: "why" }, dot(standing(row)), why(row)));
    if (get(row, "duration_s")) frame.append(make("span", { className: "badge" }, seconds(get(row, "duration_s"))));
    const badge = badgeOf(row);
    if (file && badge) frame.append(make("span", { className: "badge left" }, badge));
    const id = get(row, "id") + (get(row, "of") > 1 ? ` (${get(row, "number")} of ${get(row, "of")})` : "");
    const button = make("button", { type: "button", className: "card" }, frame,
      make("span", { className: "prompt", dir: "auto" }, get(row, "prompt") || "(no prompt)"),
      make("span", { className: "meta" }, `${id} · ${get(row, "model")}`));
    button.addEventListener("click", () => view(at));
    if (file) preview(button, frame, file);
    return make("li", {}, button);
  }
  function badgeOf(row) {
    if (get(row, "accepted") === false) return "Not accepted";
    return standing(row) === "done" ? "" : stateLabel(row);
  }
  function why(row) {
    return troubles.get(get(row, "trouble")) || stateLabel(row);
  }
  function still(frame, row) {
    const thumbnail = get(row, "thumbnail");
    if (!thumbnail) return ownPicture(frame, get(row, "file"));
    const image = make("img", { alt: "", loading: "lazy", decoding: "async" });
    image.addEventListener("error", () => { image.remove(); ownPicture(frame, get(row, "file")); }, { once: true });
    image.src = thumbnail;
    frame.append(image);
  }
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((each) => each.isIntersecting)) {
      near.unobserve(entry.target);
      const video = entry.target;
      video.preload = "metadata";
      video.src = `${video.dataset.file}#t=0.5`;
    }
  }, { rootMargin: "300px" });
  function ownPicture(frame, file) {
    const video = make("video", { muted: true, playsInline: true, preload: "none", tabIndex: -1 });
    video.dataset.file = file;
    video.setAttribute("aria-hidden", "true");
    frame.prepend(video);
    near.observe(video);
  }
  function preview(button, frame, file) {
    let waiting = 0;
    let video = null;
    function begin() {
      if (calm.matches || video) return;
      clearTimeout(waiting);
      waiting = setTimeout(() => {
        video = make("video", { muted: true, loop: true, playsInline: true, tabIndex: -1 });
        video.className = "playing";
        video.setAttribute("aria-hidden", "true");
        video.src = file;
        frame.append(video);
        video.play().catch(() => {});
      }, PREVIEW_AFTER_MS);
    }
    function end() {
      clearTimeout(waiting);
      if (!video) return;
      video.removeAttribute("src");
      video.load();
      video.remove();
      video = null;
    }
    button.addEventListener("pointerenter", (event) => { if (event.pointerType !== "touch") begin(); });
    button.addEventListener("pointerleave", end);
    button.addEventListener("focus", () => { if (button.matches(":focus-visible")) begin(); });
    button.addEventListener("blur", end);
  }

  // The viewer.
  const viewer = by("viewer");
  let viewed = 0;
  function view(at) {
    viewed = at;
    const row = matching[at];
    const title = make("h2", { id: "viewer-title", tabIndex: -1 }, get(row, "id"));
    const step = (label, to) => {
      const button = make("button", { type: "button", disabled: to < 0 || to >= matching.length }, label);
      button.addEventListener("click", () => view(to));
      return button;
    };
    const close = make("button", { type: "button" }, "Close");
    close.addEventListener("click", () => viewer.close());
    const bar = make("div", { className: "bar" }, title, step("Previous", at - 1), step("Next", at + 1), close);
    quiet();
    viewer.replaceChildren(bar, make("div", { className: "view" }, screen(row), about(row)));
    if (!viewer.open) viewer.showModal();
    viewer.scrollTop = 0;
    title.focus();
  }
  function screen(row) {
    const stage = make("div", { className: "screen" });
    if (!get(row, "file")) {
      stage.append(make("p", {}, why(row)));
      return stage;
    }
    const video = make("video", { controls: true, loop: true, playsInline: true, preload: "auto" });
    video.setAttribute("aria-label", `Clip ${get(row, "id")}`);
    video.addEventListener("error", () => {
      const codec = get(row, "codec") ? ` (${get(row, "codec")})` : "";
      video.replaceWith(make("p", {}, `This browser cannot play it${codec}, or the file is gone. Open it in a player.`));
    });
    video.src = get(row, "file");
    if (!calm.matches) video.autoplay = true;
    stage.append(video);
    return stage;
  }
  function about(row) {
    const facts = make("dl");
    const tell = (name, value) => {
      if (value === null || value === undefined || value === "") return;
      facts.append(make("div", {}, make("dt", {}, name), make("dd", { dir: "auto" }, value)));
    };
    tell("State", make("span", {}, dot(standing(row)), stateLabel(row)));
    if (get(row, "accepted") === false) tell("Accepted", `No. ${get(row, "rejected_because")}`);
    tell("Model", get(row, "model"));
    for (const [name, value] of Object.entries(get(row, "parameters"))) tell(name.replaceAll("_", " "), plain(value));
    for (const [name, value] of Object.entries(get(row, "metadata"))) tell(name, plain(value));
    if (get(row, "file")) {
      tell("Clip", clipSays(row));
      tell("File", make("a", { href: get(row, "file") }, decodeURIComponent(get(row, "file").slice(2))));
      tell("SHA-256", make("span", { className: "code" }, get(row, "sha256")));
    }
    tell("Cost", get(row, "cost_usd") === 0 ? usd(0) : `${usd(get(row, "cost_usd"))} (${get(row, "cost_is")})`);
    if (get(row, "submitted_at")) tell("Submitted", `${get(row, "submitted_at")} UTC`);
    if (get(row, "took_s") !== null) tell("Took", seconds(get(row, "took_s")));
    if (get(row, "attempts") > 1) tell("Attempts", String(get(row, "attempts")));
    if (get(row, "job_id")) tell("Job", make("span", { className: "code" }, get(row, "job_id")));
    return make("div", { className: "about" },
      make("p", { className: "words", dir: "auto", tabIndex: 0 }, get(row, "prompt")),
      get(row, "message") && make("p", { className: "told", dir: "auto" }, get(row, "message")),
      ...get(row, "warnings").map((warning) => make("p", { className: "told", dir: "auto" }, warning)),
      facts);
  }
  function clipSays(row) {
    const sound = get(row, "has_audio");
    return [
      get(row, "duration_s") ? seconds(get(row, "duration_s")) : "",
      get(row, "width") ? `${get(row, "width")} × ${get(row, "height")}` : "",
      get(row, "fps") ? `${Number(get(row, "fps").toFixed(2))} fps` : "",
      sound === null ? "" : sound ? "with sound" : "silent",
      get(row, "codec") ?? "",
      size(get(row, "bytes")),
    ].filter(Boolean).join(", ");
  }
  const plain = (value) => (typeof value === "string" ? value : JSON.stringify(value));
  function quiet() {
    const video = viewer.querySelector("video");
    if (!video) return;
    video.removeAttribute("src");
    video.load();
  }
  viewer.addEventListener("close", () => {
    quiet();
    viewer.replaceChildren();
    if (Math.floor(viewed / PAGE) !== page) show(Math.floor(viewed / PAGE));
    by("cards").children[viewed % PAGE]?.firstElementChild.focus();
  });
  viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
  viewer.addEventListener("keydown", (event) => {
    if (event.target.closest("video") || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowRight" && viewed + 1 < matching.length) view(viewed + 1);
    else if (event.key === "ArrowLeft" && viewed > 0) view(viewed - 1);
    else return;
    event.preventDefault();
  });

  // Filters.
  function count(name) {
    const counted = new Map();
    for (const row of rows) {
      const value = name === "standing" ? standing(row) : get(row, name);
      counted.set(value, (counted.get(value) ?? 0) + 1);
    }
    return counted;
  }
  function chips() {
    const counted = count("standing");
    const names = Object.keys(batch.standings).filter((name) => counted.has(name));
    const buttons = (names.length > 1 ? ["", ...names] : []).map((name) => {
      const button = make("button", { type: "button", value: name }, name && dot(name),
        name ? batch.standings[name] : "All", make("b", {}, number.format(name ? counted.get(name) : rows.length)));
      button.addEventListener("click", () => { chosen.state = name; chosen.trouble = ""; press(); apply(); });
      return button;
    });
    by("by-state").replaceChildren(...buttons);
    by("by-state").hidden = buttons.length === 0;
    press();
  }
  function press() {
    for (const button of by("by-state").children) button.setAttribute("aria-pressed", String(button.value === chosen.state));
  }
  function reset() {
    Object.assign(chosen, { state: "", model: "", accepted: "", trouble: "", words: [] });
    for (const id of ["by-text", "by-model", "by-accepted"]) by(id).value = "";
    press();
  }
  function setUp() {
    const models = [...count("model").keys()].sort();
    by("by-model").replaceChildren(make("option", { value: "" }, "All"), ...models.map((name) => make("option", { value: name }, name)));
    by("by-model").parentElement.hidden = models.length < 2;
    by("by-accepted").parentElement.hidden = !count("accepted").has(false);
    chips();
    let typed = 0;
    by("by-text").addEventListener("input", () => {
      clearTimeout(typed);
      typed = setTimeout(() => {
        chosen.words = by("by-text").value.toLowerCase().split(/\s+/).filter(Boolean);
        apply();
      }, 80);
    });
    for (const [id, name] of [["by-model", "model"], ["by-accepted", "accepted"], ["order", "order"]]) {
      by(id).addEventListener("change", () => { chosen[name] = by(id).value; apply(); });
    }
    by("reset").addEventListener("click", () => { reset(); apply(); by("by-text").focus(); });
    for (const button of document.querySelectorAll("[data-trouble]")) {
      button.addEventListener("click", () => {
        reset();
        chosen.trouble = batch.troubles[button.dataset.trouble][0];
        apply();
        by("clips-title").scrollIntoView();
        by("clips-title").focus({ preventScroll: true });
      });
    }
    const turn = (to) => { show(to); by("clips-title").scrollIntoView(); };
    by("earlier").addEventListener("click", () => turn(page - 1));
    by("later").addEventListener("click", () => turn(page + 1));
    by("page").addEventListener("change", () => turn(Number(by("page").value) - 1));
    document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());
    document.querySelector(".filters").hidden = rows.length === 0;
    document.addEventListener("keydown", (event) => {
      if (event.key !== "/" || viewer.open || event.target.closest("input, select, textarea")) return;
      event.preventDefault();
      by("by-text").focus();
    });
  }
  setUp();
  apply();
  document.documentElement.dataset.readyMs = String(Math.round(performance.now()));
})();
