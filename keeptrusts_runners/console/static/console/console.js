// What the console's pages do beyond HTML: ticking clocks, copy buttons, the theme without a
// reload, and fragments that keep themselves fresh. Every page works without this file.
//
//   <html class="js">                       set here; .js-only and .no-js follow it
//   <time datetime data-relative="ago|elapsed|countdown" data-ended="word">
//   <button data-copy="text">
//   <form data-theme-form>
//   <button data-reveal="id-of-a-password-field">
//   <div id data-refresh="/address" data-every="3">    fetched from there and swapped by id;
//                                                       an empty address means this page
//   <span data-live> … data-live-word, data-live-toggle

const root = document.documentElement;
root.classList.add("js");

const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const say = (text) => {
  document.getElementById("status").textContent = text;
};

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

const relative = {
  ago: (at, now, element) => ago(now - at) ?? element.title.replace(/\.\d+Z$/, "Z"),
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
}

// --- small conveniences ----------------------------------------------------------------------

async function copy(button) {
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    say("Copied");
    button.classList.add("copied");
    setTimeout(() => button.classList.remove("copied"), 1200);
  } catch {
    say("Copying is not allowed here");
  }
}

function reveal(button) {
  const field = document.getElementById(button.dataset.reveal);
  const shown = field.type === "password";
  field.type = shown ? "text" : "password";
  button.setAttribute("aria-pressed", String(shown));
  button.textContent = shown ? "Hide password" : "Show password";
}

function setTheme(name) {
  if (name === "system") delete root.dataset.theme;
  else root.dataset.theme = name;
  for (const button of all("[data-theme-form] button")) {
    button.setAttribute("aria-pressed", String(button.value === name));
  }
}

async function changeTheme(event) {
  const form = event.target.closest("[data-theme-form]");
  if (!form || !event.submitter) return;
  event.preventDefault();
  const data = new FormData(form, event.submitter);
  setTheme(data.get("theme"));
  const kept = await fetch(form.action, { method: "POST", body: data, redirect: "manual" }).catch(
    () => null,
  );
  say(kept?.type === "opaqueredirect" ? "Theme changed" : "Theme changed for this page only");
}

function closeMenus(except) {
  for (const menu of all("details.menu[open]")) {
    if (menu === except) continue;
    menu.open = false;
    if (menu.contains(document.activeElement)) menu.querySelector("summary").focus();
  }
}

// --- fragments that keep themselves fresh -----------------------------------------------------

const FETCH_TIMEOUT = 10_000;
const LONGEST_PAUSE = 60_000;
let paused = false;
let failures = 0;
let timer;

const fragments = () => all("[id][data-refresh]");
const address = (element) => element.dataset.refresh || location.pathname + location.search;
const interval = () =>
  Math.min(...fragments().map((element) => Number(element.dataset.every) || 15)) * 1000;

// Has the reader changed this field, and not sent it yet?
function edited(field) {
  if (!field.matches("select")) return field.value !== field.defaultValue;
  const drawn = [...field.options].findIndex((option) => option.defaultSelected);
  return field.selectedIndex !== Math.max(drawn, 0);
}

// What the reader is in the middle of stays as it is.
function inUse(element) {
  const active = document.activeElement;
  const typing = active?.matches("input, select, textarea") && element.contains(active);
  const selection = getSelection();
  const selecting = selection.type === "Range" && selection.containsNode(element, true);
  const fields = all("textarea, select, input:not([type=hidden])", element);
  const chosen = element.querySelector("input:checked[data-select]") !== null;
  return typing || selecting || chosen || fields.some(edited);
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

function swap(element, html) {
  const incoming = new DOMParser()
    .parseFromString(html, "text/html")
    .getElementById(element.id);
  if (!incoming || substance(incoming.outerHTML) === drawn.get(element)) return;
  const open = new Map(all("details[id]", element).map((each) => [each.id, each.open]));
  const versions = new Map(
    all("[id][data-version]", element).map((each) => [each.id, each.dataset.version]),
  );
  const focus = placeOfFocus(element);
  htmx.swap(element, incoming.outerHTML, { swapStyle: "outerHTML", swapDelay: 0, settleDelay: 0 });
  const fresh = document.getElementById(element.id);
  drawn.set(fresh, substance(incoming.outerHTML));
  focus?.();
  for (const each of all("details[id]", fresh)) each.open = open.get(each.id) ?? each.open;
  for (const each of all("[id][data-version]", fresh)) {
    if (versions.get(each.id) !== each.dataset.version) each.classList.add("changed");
  }
}

async function refreshFrom(url, elements) {
  const answer = await fetch(url, {
    headers: { "HX-Request": "true" },
    signal: AbortSignal.timeout(FETCH_TIMEOUT),
  });
  if (answer.status === 401) throw new SignedOut();
  if (!answer.ok) throw new Error(String(answer.status));
  correctClock(answer.headers.get("Date"));
  const html = await answer.text();
  for (const element of elements) if (!inUse(element)) swap(element, html);
}

class SignedOut extends Error {}

function label(word) {
  for (const element of all("[data-live-word]")) {
    if (element.textContent !== word) element.textContent = word;
  }
}

function stale(isStale) {
  for (const element of fragments()) element.classList.toggle("stale", isStale);
}

let freshAt = serverNow();

async function refresh() {
  const urls = [...new Set(fragments().map(address))];
  const from = (url) => fragments().filter((element) => address(element) === url);
  try {
    await Promise.all(urls.map((url) => refreshFrom(url, from(url))));
    failures = 0;
    freshAt = serverNow();
    stale(false);
    label("Polling");
  } catch (error) {
    failures += 1;
    stale(true);
    const since = new Date(freshAt).toISOString().slice(11, 19);
    label(error instanceof SignedOut ? "Signed out: reload to sign in" : `Stale since ${since}Z, retrying`);
    if (error instanceof SignedOut) return setPaused(true, true);
  }
  tick();
  schedule();
}

function schedule() {
  clearTimeout(timer);
  if (paused || document.hidden || !fragments().length) return;
  timer = setTimeout(refresh, Math.min(interval() * 2 ** failures, LONGEST_PAUSE));
}

function setPaused(value, silently = false) {
  paused = value;
  for (const button of all("[data-live-toggle]")) {
    button.textContent = paused ? "Resume updates" : "Pause updates";
  }
  if (!silently) label(paused ? "Paused" : "Polling");
  if (paused) clearTimeout(timer);
  else refresh();
}

// --- wiring ----------------------------------------------------------------------------------

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy], [data-reveal], [data-live-toggle]");
  closeMenus(event.target.closest("details.menu"));
  if (!button) return;
  if ("copy" in button.dataset) copy(button);
  else if ("reveal" in button.dataset) reveal(button);
  else setPaused(!paused);
});
document.addEventListener("submit", changeTheme);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") closeMenus(null);
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else if (!paused && fragments().length) refresh();
});

document.querySelector("[data-focus]")?.focus();
tick();
setInterval(tick, 1000);
if (fragments().length && window.htmx) {
  label("Polling");
  schedule();
} else {
  for (const element of all("[data-live]")) element.hidden = true;
}
