// What changes by itself on the console's pages: clocks that tick, fragments that are drawn again,
// logs that grow, and the word that says how fresh it all is. Pages are whole without it.
//
//   <time datetime data-relative="ago|elapsed|countdown" data-ended="word">
//   <div id data-refresh="/address" data-every="3" data-topic="sessions,session:sess_…">
//        fetched from there and swapped by id, when a topic signals and now and then besides; an
//        empty address means this page, whose topic is also the one where none is named. One that holds a single table of rows with id and
//        data-version is a list: its rows change in place, and none comes or goes unasked.
//   <ol data-follow data-last-seq data-rows-url>     a log that grows
//   <input type="checkbox" data-select>              nothing moves while one is ticked
//   <span data-live> … data-live-word, data-live-toggle, data-live-show, data-live-sign-in

const root = document.documentElement;
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

// --- the server's clock ----------------------------------------------------------------------
// Counted on from the moment the page was answered; the computer's own clock plays no part.

const navigation = performance.getEntriesByType("navigation")[0];
const written = Number(document.querySelector('meta[name="server-time"]')?.content) * 1000;
let offset = written - (navigation?.responseStart ?? 0);
const serverNow = () => offset + performance.now();

// An answer's Date header has whole seconds: it corrects only what sleep or suspension put wrong.
function correctClock(dateHeader) {
  const at = Date.parse(dateHeader ?? "");
  if (at && Math.abs(at - serverNow()) > 2000) offset = at - performance.now();
}

const two = (number) => String(number).padStart(2, "0");

// The same rules as formats.duration on the server.
function duration(milliseconds) {
  const whole = Math.floor(Math.max(milliseconds, 0) / 1000);
  if (milliseconds > 0 && milliseconds < 1000) return `${Math.floor(milliseconds)} ms`;
  const [days, hours] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24];
  const [minutes, seconds] = [Math.floor(whole / 60) % 60, whole % 60];
  if (days) return `${days}d ${two(hours)}h ${two(minutes)}m`;
  if (hours) return `${hours}h ${two(minutes)}m ${two(seconds)}s`;
  return minutes ? `${minutes}m ${two(seconds)}s` : `${seconds} s`;
}

function ago(age) {
  const seconds = Math.floor(Math.max(age, 0) / 1000);
  if (seconds < 60) return `${seconds} s ago`;
  return seconds < 3600 ? `${Math.floor(seconds / 60)} min ago` : null;
}

// The hour of an instant in the zone of the page, with that zone's suffix.
function hour(at) {
  const timeZone = root.dataset.zone || "UTC";
  const parts = new Intl.DateTimeFormat("en-GB", {
    timeZone, hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "longOffset",
  }).formatToParts(at);
  const part = (type) => parts.find((each) => each.type === type).value;
  const suffix = part("timeZoneName").replace("GMT", "") || "Z";
  return `${part("hour")}:${part("minute")}:${part("second")}${suffix}`;
}

const relative = {
  ago: (at, now, element) => ago(now - at) ?? element.title.replace(/\.\d+/, ""),
  elapsed: (at, now) => duration(Math.max(Math.floor((now - at) / 1000) * 1000, 0)),
  countdown: (at, now, element) =>
    at > now ? `in ${duration(Math.max(at - now, 1000))}` : element.dataset.ended ?? "ended",
};

function tick() {
  const now = serverNow();
  for (const element of all("time[data-relative]")) {
    const text = relative[element.dataset.relative]?.(Date.parse(element.dateTime), now, element);
    if (text && element.textContent !== text) element.textContent = text;
  }
  if (state.name === "Reconnecting") draw();
}

class SignedOut extends Error {}

class Refused extends Error {
  constructor(answer) {
    super(String(answer.status));
    this.seconds = Math.max(Number(answer.headers.get("Retry-After")) || 0, 5);
  }
}

// --- what is drawn again ----------------------------------------------------------------------

const FETCH_TIMEOUT = 10_000;
const LONGEST_PAUSE = 60_000;

const fragments = () => all("[id][data-refresh]");
const address = (element) => element.dataset.refresh || location.pathname + location.search;
const isSelecting = () => document.querySelector("input[data-select]:checked") !== null;

// Has the reader changed this field, and not sent it yet?
function edited(field) {
  if (field.matches("[type=checkbox], [type=radio]")) return field.checked !== field.defaultChecked;
  if (!field.matches("select")) return field.value !== field.defaultValue;
  const drawn = [...field.options].findIndex((option) => option.defaultSelected);
  return field.selectedIndex !== Math.max(drawn, 0);
}

// What the reader is in the middle of stays as it is.
function inUse(element) {
  const active = document.activeElement;
  const typing = active?.matches("textarea, select, input:not([type=checkbox])");
  const selection = getSelection();
  const selecting = selection.type === "Range" && selection.containsNode(element, true);
  const fields = all("textarea, select, input:not([type=hidden])", element);
  return (typing && element.contains(active)) || selecting || fields.some(edited);
}

// Two answers are the same if only the words of ticking clocks and the form tokens differ.
const drawn = new WeakMap();
const substance = (html) =>
  html.replace(/(<time[^>]*data-relative[^>]*>)[^<]*|(csrfmiddlewaretoken" value=")[^"]*/g, "$1$2");

// Focus is found again by the nearest id and the place among the controls within it. Returns what
// restores it, if it lies within the element.
function placeOfFocus(element) {
  const active = document.activeElement;
  if (!element.contains(active) || active.id) return null;
  const controls = "a, button, summary, input, [tabindex]";
  const holder = active.closest("[id]");
  const index = all(controls, holder).indexOf(active);
  return () => {
    const found = document.getElementById(holder.id);
    if (found) all(controls, found)[index]?.focus({ preventScroll: true });
  };
}

function replace(element, incoming) {
  const open = new Map(all("details[id]", element).map((each) => [each.id, each.open]));
  const versions = new Map(versioned(element).map((each) => [each.id, each.dataset.version]));
  const focus = placeOfFocus(element);
  const focusedId = element.contains(document.activeElement) && document.activeElement.id;
  element.replaceWith(incoming);
  if (focus) focus();
  else if (focusedId) document.getElementById(focusedId)?.focus({ preventScroll: true });
  for (const each of all("details[id]", incoming)) each.open = open.get(each.id) ?? each.open;
  for (const each of versioned(incoming)) {
    if (versions.size && versions.get(each.id) !== each.dataset.version) {
      each.classList.add("changed");
    }
  }
}

const versioned = (element) =>
  [element, ...all("[id][data-version]", element)].filter((each) => each.dataset.version);

// The rows of a list; null for a fragment that is none, or has none yet.
function rowsOf(element) {
  const tables = all("table", element);
  if (tables.length !== 1) return null;
  const rows = all("tbody tr[id][data-version]", tables[0]);
  return rows.length ? new Map(rows.map((row) => [row.id, row])) : null;
}

// What came for a list while its rows stay where they are: by the fragment's id.
const waiting = new Map();

function swap(element, html) {
  const incoming = new DOMParser().parseFromString(html, "text/html").getElementById(element.id);
  const text = incoming && substance(incoming.outerHTML);
  if (!incoming || text === drawn.get(element)) return;
  const fresh = document.importNode(incoming, true);
  const [before, after] = [rowsOf(element), rowsOf(fresh)];
  if (before && after && [...before.keys()].join() !== [...after.keys()].join()) {
    updateInPlace(element, before, after, fresh);
    drawn.set(element, text);
    return;
  }
  waiting.delete(element.id);
  replace(element, fresh);
  drawn.set(fresh, text);
}

function updateInPlace(element, before, after, fresh) {
  const news = { fresh, come: 0, changed: 0 };
  for (const id of after.keys()) news.come += !before.has(id);
  for (const [id, row] of before) {
    if (!after.has(id)) news.changed += 1;
    else if (substance(row.outerHTML) !== substance(after.get(id).outerHTML)) {
      news.changed += row.dataset.version !== after.get(id).dataset.version;
      replace(row, after.get(id).cloneNode(true));
    }
  }
  waiting.set(element.id, news);
}

export function showWaiting() {
  for (const [id, { fresh }] of waiting) {
    const element = document.getElementById(id);
    if (!element) continue;
    drawn.set(fresh, drawn.get(element));
    replace(element, fresh);
    fresh.querySelector("[tabindex]")?.focus({ preventScroll: true });
  }
  waiting.clear();
  draw();
}

async function get(url) {
  const answer = await fetch(url, {
    headers: { "HX-Request": "true" },
    signal: AbortSignal.timeout(FETCH_TIMEOUT),
  });
  if (answer.status === 401) throw new SignedOut();
  if (answer.status === 429) throw new Refused(answer);
  if (!answer.ok) throw new Error(String(answer.status));
  correctClock(answer.headers.get("Date"));
  return answer.text();
}

async function refreshFrom(url, elements) {
  const html = await get(url);
  for (const element of elements) {
    if (element.isConnected && !inUse(element) && !isSelecting()) swap(element, html);
  }
}

// --- a log that grows --------------------------------------------------------------------------
// Rows after the last are fetched (as <li data-seq> in such a list) and appended while its end is
// in view; else they are held, and a button says how many there are.

const MOST = 2000;
const NEAR = 40;
const BATCH = 500;
const TOO_FAR = 5000;

class Tail {
  constructor(list, get) {
    Object.assign(this, { list, get, held: [], busy: null, atEnd: true, top: 0 });
    this.last = Number(list.dataset.lastSeq) || 0;
    // How far the ledger goes, as far as the stream has told.
    this.head = 0;
    this.topic = list.dataset.topic ?? `session:${/sess_[0-9a-z]+/.exec(list.dataset.rowsUrl)}`;
    this.button = button("New events", () => this.show());
    this.button.hidden = true;
    this.toggle = button("Follow", () => this.follow(!this.wanted));
    this.toggle.setAttribute("aria-keyshortcuts", "f");
    this.bar = document.createElement("div");
    this.bar.className = "tail";
    this.bar.append(this.button, this.toggle);
    list.after(this.bar);
    document.addEventListener("scroll", () => this.scrolled(), { capture: true, passive: true });
    this.follow(!location.hash);
  }

  get isBehind() {
    return this.head > this.last;
  }

  // The list scrolls by itself, or with the page.
  get scroller() {
    const own = ["auto", "scroll"].includes(getComputedStyle(this.list).overflowY);
    return own ? this.list : document.scrollingElement;
  }

  // How much of the list lies below what is seen.
  get below() {
    const { scroller } = this;
    if (scroller === this.list) {
      return scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight;
    }
    const bottom = this.list.getBoundingClientRect().bottom + this.bar.offsetHeight;
    return bottom - document.documentElement.clientHeight;
  }

  // Only who scrolls up leaves the end: rows that grow when they are drawn do not.
  scrolled() {
    const { scrollTop } = this.scroller;
    if (this.below <= NEAR) {
      this.atEnd = true;
      if (this.held.length && this.wanted) this.show();
    } else if (scrollTop < this.top) this.atEnd = false;
    this.top = scrollTop;
  }

  follow(wanted) {
    this.wanted = wanted;
    this.toggle.setAttribute("aria-pressed", String(wanted));
    if (wanted) this.show();
  }

  show() {
    this.append(this.held.splice(0));
    this.toEnd();
    this.draw();
  }

  toEnd() {
    const scroll = () => {
      if (this.scroller === this.list) this.list.scrollTop = this.list.scrollHeight;
      else this.list.lastElementChild?.scrollIntoView({ block: "end", behavior: "instant" });
    };
    scroll();
    this.atEnd = true;
    // Rows out of sight have no height of their own until they are drawn.
    requestAnimationFrame(scroll);
  }

  draw() {
    const count = this.held.length;
    const number = count >= MOST ? `${MOST.toLocaleString("en")}+` : count.toLocaleString("en");
    this.button.hidden = !count;
    this.button.textContent = `${number} new event${count === 1 ? "" : "s"}`;
  }

  // One at a time: whoever asks meanwhile waits for the same rows.
  fetch() {
    this.busy ??= this.read().finally(() => {
      this.busy = null;
    });
    return this.busy;
  }

  async read() {
    if (this.head - this.last > TOO_FAR) this.skip(this.head - BATCH);
    while (this.held.length < MOST) {
      const url = new URL(this.list.dataset.rowsUrl, location);
      url.searchParams.set("after", this.last);
      const page = new DOMParser().parseFromString(await this.get(url), "text/html");
      const found = page.querySelector("ol[data-last-seq]");
      const rows = [...page.querySelectorAll("li[data-seq]")].filter(
        (row) => Number(row.dataset.seq) > this.last,
      );
      this.last = Math.max(
        this.last, Number(found?.dataset.lastSeq) || 0, ...rows.map((row) => Number(row.dataset.seq)),
      );
      this.take(rows.map((row) => document.importNode(row, true)));
      if (rows.length < BATCH) return;
    }
  }

  skip(to) {
    const note = document.createElement("li");
    note.className = "skipped";
    const place = location.pathname.replace(/\/events.*|$/, "/events");
    const link = Object.assign(document.createElement("a"), {
      href: `${place}?after=${this.last}`,
      textContent: `Skipped #${(this.last + 1).toLocaleString("en")} to #${to.toLocaleString("en")}`,
    });
    note.append(link);
    this.last = to;
    this.take([note]);
  }

  take(rows) {
    if (this.held.length || !this.wanted || !this.atEnd) {
      this.held.push(...rows);
      this.draw();
    } else if (rows.length) {
      this.append(rows);
      this.toEnd();
    }
  }

  append(rows) {
    this.list.append(...rows);
    while (this.list.children.length > MOST) this.list.firstElementChild.remove();
    this.list.dataset.lastSeq = this.last;
  }
}

function button(text, press) {
  const made = Object.assign(document.createElement("button"), { type: "button", textContent: text });
  made.addEventListener("click", press);
  return made;
}

// --- how fresh it is --------------------------------------------------------------------------
// Live: signals come. Reconnecting: they did, or should soon. Polling: they do not, and the same is
// fetched on a timer, as it is while reconnecting.

const state = { name: "Polling", until: 0 };
let failures = 0;
let freshAt = serverNow();
let stale = false;

function words() {
  if (stale && state.name !== "Signed out") return `Stale since ${hour(freshAt)}, retrying`;
  if (isSelecting()) return "Paused while rows are selected";
  if (state.name !== "Reconnecting") return state.name;
  return `Reconnecting (${Math.max(Math.ceil((state.until - performance.now()) / 1000), 0)} s)`;
}

export function draw() {
  const word = words();
  for (const element of all("[data-live-word]")) {
    if (element.textContent !== word) element.textContent = word;
  }
  for (const element of all("[data-live]")) element.dataset.live = state.name;
  const paused = state.name === "Paused";
  for (const button of all("[data-live-toggle]")) {
    const text = paused ? "Resume updates" : "Pause updates";
    if (button.textContent !== text) button.textContent = text;
  }
  for (const link of all("[data-live-sign-in]")) link.hidden = state.name !== "Signed out";
  const news = [...waiting.values()];
  const [come, changed] = ["come", "changed"].map((key) => news.reduce((n, x) => n + x[key], 0));
  const parts = [come && `${come} new`, changed && `${changed} changed`].filter(Boolean);
  for (const button of all("[data-live-show]")) {
    button.hidden = !parts.length;
    button.textContent = `${parts.join(", ")}. Show`;
  }
  for (const element of fragments()) element.classList.toggle("stale", stale);
}

function become(name, until = 0) {
  Object.assign(state, { name, until });
  draw();
}

export const isOff = () => state.name === "Paused" || state.name === "Signed out";

function signOut() {
  become("Signed out");
  stopListening();
  clearTimeout(timer);
}

// --- fetching: when told, and now and then ----------------------------------------------------

let timer;
const tails = all("ol[data-follow][data-rows-url]").map((list) => new Tail(list, get));

// A fragment that does not say is about what its page is about.
function topicOfPage() {
  const session = /^\/runners\/sessions\/(sess_[0-9a-z]+)/.exec(location.pathname)?.[1];
  if (session) return `session:${session}`;
  const named = /^\/runners\/(sessions|approvals)\b/.exec(location.pathname)?.[1];
  return named ?? "fleet";
}

const topicsOf = (element) =>
  (element.dataset.topic ?? topicOfPage()).split(",").filter(Boolean);
const topics = () => [
  ...new Set([...fragments().flatMap(topicsOf), ...tails.map((tail) => tail.topic)]),
];
const isWatching = () => tails.length > 0 || fragments().length > 0;

function every() {
  const asked = fragments().map((element) => Number(element.dataset.every) || 15);
  const seconds = Math.min(...asked, tails.length ? 3 : 15);
  // What no signal tells of, such as a heartbeat, is looked for now and then all the same.
  return (state.name === "Live" ? Math.min(seconds * 5, 60) : seconds) * 1000;
}

async function refresh(elements = fragments(), followed = tails) {
  const urls = [...new Set(elements.map(address))];
  const from = (url) => elements.filter((element) => address(element) === url);
  try {
    await Promise.all([
      ...urls.map((url) => refreshFrom(url, from(url))),
      ...followed.map((tail) => tail.fetch()),
    ]);
    failures = 0;
    freshAt = serverNow();
    stale = false;
  } catch (error) {
    if (error instanceof SignedOut) return signOut();
    failures += 1;
    stale = !(error instanceof Refused);
    if (error instanceof Refused) return schedule(error.seconds * 1000);
  }
  draw();
  tick();
  schedule();
}

function schedule(pause = Math.min(every() * 2 ** failures, LONGEST_PAUSE)) {
  clearTimeout(timer);
  if (!isOff() && !asleep && isWatching()) timer = setTimeout(refresh, pause);
}

// A third of the usual pause lies between two signals that are followed, however many come.
const due = new Set();
let following = false;

async function hear(signal) {
  due.add(signal.topic);
  for (const tail of tails) if (tail.topic === signal.topic) tail.head = signal.last_seq;
  if (following) return;
  following = true;
  while (due.size && !isOff()) {
    const told = new Set(due);
    due.clear();
    const elements = fragments().filter((element) => topicsOf(element).some((x) => told.has(x)));
    const behind = tails.filter((tail) => told.has(tail.topic) && tail.isBehind);
    if (elements.length || behind.length) await refresh(elements, behind);
    const asked = elements.map((element) => Number(element.dataset.every) || 15);
    await new Promise((done) => setTimeout(done, Math.min(1, ...asked) * 333));
  }
  following = false;
}

// --- the stream -------------------------------------------------------------------------------
// Server-sent events over fetch, which unlike EventSource tells a refusal from a lost connection.

const CONNECT = 5000;
// The server says something every 15 s.
const SILENCE = 25_000;
// Of the six connections that a browser makes to one server all its pages leave three to the rest.
const SLOTS = [1, 2, 3];

// Until the stream ends, which it does not do in good order: raises SignedOut, Refused with the
// seconds to wait, or whatever ended it.
async function listen(topics, since, controller, on) {
  const follow = () => read(topics, since, controller, on);
  if (!navigator.locks) return follow();
  for (const number of SLOTS) {
    const had = await navigator.locks.request(
      `stream-${number}`, { ifAvailable: true }, async (slot) => slot && (await follow(), true),
    );
    if (had) return;
  }
  throw Object.assign(new Error("this browser has its streams"), { seconds: 30 });
}

async function read(topics, since, controller, on) {
  let alarm;
  const expect = (within) => {
    clearTimeout(alarm);
    alarm = setTimeout(() => controller.abort(), within);
  };
  try {
    expect(CONNECT);
    const answer = await fetch(`/runners/stream?topics=${topics.join()}`, {
      headers: { Accept: "text/event-stream", "Last-Event-ID": String(since) },
      signal: controller.signal,
    });
    if (answer.status === 401) throw new SignedOut();
    if (!answer.ok) throw new Refused(answer);
    on.open();
    let text = "";
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      expect(SILENCE);
      const { done, value } = await reader.read();
      if (done) throw new Error("ended");
      const messages = (text + value).split("\n\n");
      text = messages.pop();
      for (const message of messages) tell(message, on);
    }
  } finally {
    clearTimeout(alarm);
  }
}

function tell(message, on) {
  const fields = Object.fromEntries(message.split("\n").map((line) => line.split(/: (.*)/, 2)));
  if (fields.event === "signal") on.signal(JSON.parse(fields.data), fields.id);
}

const RETRIES = [1, 2, 4, 8, 15, 30];
// So long it is called reconnecting, then polling.
const GRACE = 6000;
let stream = null;
let knownUntil = Math.floor(written) || "";
let lostAt = 0;
let attempt = 0;
let retry;

function stopListening() {
  clearTimeout(retry);
  stream?.abort();
  stream = null;
}

async function startListening() {
  stopListening();
  const own = (stream = new AbortController());
  if (!topics().length) return;
  try {
    await listen(topics(), knownUntil, own, {
      open() {
        attempt = lostAt = 0;
        become("Live");
        schedule();
      },
      signal(data, id) {
        knownUntil = id;
        hear(data);
      },
    });
  } catch (error) {
    if (own === stream) lose(error);
  }
}

function lose(error) {
  if (error instanceof SignedOut) return signOut();
  const now = performance.now();
  const wasLive = state.name === "Live";
  lostAt ||= now;
  const seconds = error.seconds ?? RETRIES[Math.min(attempt++, RETRIES.length - 1)];
  // A page that was never live looks for itself at once.
  const hoped = error.seconds === undefined && now - lostAt < GRACE;
  become(hoped ? "Reconnecting" : "Polling", now + seconds * 1000);
  if (hoped) setTimeout(() => state.name === "Reconnecting" && become("Polling"), GRACE);
  retry = setTimeout(startListening, seconds * 1000);
  if (wasLive) schedule();
}

// --- pauses -----------------------------------------------------------------------------------

const HIDDEN = 30_000;
let asleep = false;
let sleep;

export function setPaused(paused) {
  if (paused) {
    stopListening();
    clearTimeout(timer);
    become("Paused");
  } else {
    become("Polling");
    startListening();
    refresh();
  }
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(sleep);
  if (!isWatching() || state.name === "Paused") return;
  if (document.hidden) {
    sleep = setTimeout(() => {
      asleep = true;
      stopListening();
      clearTimeout(timer);
    }, HIDDEN);
  } else if (asleep || state.name === "Signed out") {
    asleep = false;
    setPaused(false);
  }
});


export function start() {
  tick();
  setInterval(tick, 1000);
  if (!isWatching()) {
    for (const element of all("[data-live]")) element.hidden = true;
  } else if (root.dataset.updates === "paused") become("Paused");
  else {
    draw();
    startListening();
    schedule();
  }
}
