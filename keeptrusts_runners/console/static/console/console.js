// What the reader does on the console's pages beyond HTML: copying, the theme without a reload, keys.
// What changes by itself is live.js. Every page works without either.
//
//   <html class="js">                       set here; .js-only and .no-js follow it
//   <button data-copy="text">
//   <form data-theme-form>
//   <button data-reveal="id-of-a-password-field">
//   <button data-zone-of-browser="id-of-a-select">
//
// Keys without Control or Meta work outside fields only, and not under <html data-shortcuts="off">.
// None changes anything by itself: a key follows a link, presses a button of these scripts' own, and
// of all other buttons moves the focus there.
//
//   <a aria-keyshortcuts="c">    that key's control; the help (?) lists those that can be seen
//   j k x e y                    on rows: those of tables and logs, or [data-row]
//   <input data-search>          where / leads; else to the page's first search, else the header's

import { draw, isOff, setPaused, showWaiting, start } from "./live.js";

const root = document.documentElement;
root.classList.add("js");

const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const say = (text) => {
  document.getElementById("status").textContent = text;
};

// --- small conveniences ----------------------------------------------------------------------

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    say("Copied");
    return true;
  } catch {
    say("Copying is not allowed here");
    return false;
  }
}

async function copy(button) {
  if (!(await copyText(button.dataset.copy))) return;
  button.classList.add("copied");
  setTimeout(() => button.classList.remove("copied"), 1200);
}

function reveal(button) {
  const field = document.getElementById(button.dataset.reveal);
  const shown = field.type === "password";
  field.type = shown ? "text" : "password";
  button.setAttribute("aria-pressed", String(shown));
  button.textContent = shown ? "Hide password" : "Show password";
}

function chooseZone(button) {
  const select = document.getElementById(button.dataset.zoneOfBrowser);
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  select.value = zone;
  say(select.value === zone ? `${zone} chosen` : `${zone} is not known here`);
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

function unselect() {
  for (const box of all("input[data-select]:checked")) box.checked = false;
  draw();
}

// --- rows -------------------------------------------------------------------------------------

const ROWS = "[data-row], main tbody tr, main ol.log > li";
const FIELDS = "input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]";

const isSeen = (element) => element.checkVisibility?.() ?? element.offsetParent !== null;
const nameOf = (element) =>
  (element.getAttribute("aria-label") ?? element.textContent).replace(/\s+/g, " ").trim();

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

const linkOf = (row) => row.querySelector("a[href]");
const rows = () => all(ROWS).filter((row) => isSeen(row) && linkOf(row));
const currentRow = () => document.activeElement?.closest(ROWS);

function focusRow(row) {
  if (!row) return;
  linkOf(row).focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
}

// Whether there was such a row to go to.
function step(by, fits = () => true) {
  const found = rows();
  const here = found.indexOf(currentRow());
  const start = here >= 0 ? here + by : by > 0 ? 0 : found.length - 1;
  for (let at = start; at >= 0 && at < found.length; at += by) {
    if (!fits(found[at])) continue;
    focusRow(found[at]);
    return true;
  }
  return false;
}

const isError = (row) => row.querySelector(".level.failed") !== null;

let lastTicked = null;

function select(range) {
  const box = currentRow()?.querySelector("input[data-select]");
  if (!box) return;
  const boxes = all("input[data-select]").filter(isSeen);
  const [from, to] = [boxes.indexOf(range && lastTicked ? lastTicked : box), boxes.indexOf(box)];
  const checked = range ? true : !box.checked;
  for (const each of boxes.slice(Math.min(from, to), Math.max(from, to) + 1)) {
    each.checked = checked;
  }
  lastTicked = box;
  box.dispatchEvent(new Event("change", { bubbles: true }));
}

// The permalink of a log's row, the id that a row or the page is about, else the page's address.
function copied() {
  const row = currentRow();
  if (row?.closest("ol.log")) return linkOf(row).href;
  const id = (row ?? document.querySelector("main")).querySelector("[data-copy]");
  return id?.dataset.copy ?? (row ? linkOf(row).href : location.href);
}

// --- dialogs ----------------------------------------------------------------------------------

let opened = null;

function closeDialogs() {
  const had = opened !== null;
  opened?.close();
  return had;
}

function show(dialog) {
  closeDialogs();
  const before = document.activeElement;
  opened = dialog;
  dialog.addEventListener("close", () => {
    opened = null;
    dialog.remove();
    before?.focus?.({ preventScroll: true });
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  dialog.showModal();
}

function framed(title, ...content) {
  const heading = make("h2", { id: "dialog-title", textContent: title });
  const close = make("button", { type: "button", textContent: "Close" });
  const head = make("div", { className: "head" }, heading, close);
  const dialog = make("dialog", {}, head, ...content);
  dialog.setAttribute("aria-labelledby", "dialog-title");
  close.addEventListener("click", () => dialog.close());
  return dialog;
}

const keyed = () => all("[aria-keyshortcuts]").filter(isSeen);
const spelled = (key) => key.replace(/^Control\+K$/, "Ctrl K or ⌘ K").replace("+", " ");

function known() {
  const has = (selector) => document.querySelector(selector) !== null;
  const moves = [
    ["?", "This list", true],
    ["Control+K", "Go to a page or an id, or do what this page offers", true],
    ["/", "Search", searchField() !== null],
    ["j", "Next row", rows().length],
    ["k", "Previous row", rows().length],
    ["Enter", "Open the row", rows().length],
    ["x", "Select the row", has("input[data-select]")],
    ["Shift+x", "Select all rows up to this one", has("input[data-select]")],
    ["e", "Next error", has("ol.log")],
    ["Shift+e", "Previous error", has("ol.log")],
    ["y", has("ol.log") ? "Copy the link to the row, or the id" : "Copy the id", true],
    ["u", "One level up", has(".crumbs a")],
    ["Escape", "Close, or clear the selection", true],
  ].filter(([, , applies]) => applies);
  const controls = keyed().map((element) => [
    element.getAttribute("aria-keyshortcuts"),
    nameOf(element) || element.getAttribute("placeholder") || element.labels?.[0]?.textContent || "",
  ]);
  const rest = controls.filter(([keys]) => !moves.some(([key]) => keys.split(" ").includes(key)));
  return [...moves.map(([key, text]) => [key, text]), ...rest];
}

function help() {
  const list = make("dl", { className: "facts keys" });
  for (const [keys, text] of known()) {
    const shown = keys.split(" ").flatMap((key) => [make("kbd", { textContent: spelled(key) }), " "]);
    list.append(make("dt", {}, ...shown), make("dd", { textContent: text }));
  }
  const off = make("p", { className: "muted" }, "Single keys can be turned off in ");
  off.append(make("a", { href: "/runners/me", textContent: "your preferences" }), ".");
  show(framed("Keys on this page", list, off));
}

// Everything that can be gone to or done from here, each once.
function commands() {
  const found = new Map();
  const controls = "header nav a, .tabs a, .actions :is(a, button), .crumbs a, .menu a";
  for (const element of all(controls)) {
    const name = nameOf(element);
    if (name && !found.has(name)) found.set(name, element);
  }
  return [...found].map(([name, element]) => ({ name, element }));
}

function menu() {
  const input = make("input", { type: "search", name: "q", autocomplete: "off", spellcheck: false });
  input.setAttribute("aria-label", "Command, page or id");
  const list = make("ul", { className: "commands" });
  const form = make("form", { action: "/runners/go", method: "get", className: "stack" }, input);
  form.setAttribute("role", "search");
  const offers = commands();
  const press = ({ element }) => {
    closeDialogs();
    if (element.matches("a")) element.click();
    else element.focus();
  };
  const draw = () => {
    const wanted = input.value.trim().toLowerCase().split(/\s+/);
    const fitting = offers.filter(({ name }) =>
      wanted.every((word) => name.toLowerCase().includes(word)),
    );
    list.replaceChildren(
      ...fitting.slice(0, 12).map((offer) => {
        const button = make("button", { type: "button", textContent: offer.name });
        button.addEventListener("click", () => press(offer));
        return make("li", {}, button);
      }),
    );
    if (input.value.trim()) {
      const go = make("button", { type: "submit", textContent: `Find “${input.value.trim()}”` });
      go.setAttribute("form", (form.id = "command"));
      list.append(make("li", {}, go));
    }
  };
  input.addEventListener("input", draw);
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    if (input.value.trim()) list.querySelector("button").click();
  });
  const dialog = framed("Go to", form, list);
  dialog.addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const stops = [input, ...all("button", list)];
    stops[(stops.indexOf(document.activeElement) + by + stops.length) % stops.length]?.focus();
  });
  draw();
  show(dialog);
  input.focus();
}

// --- keys -------------------------------------------------------------------------------------

const searchField = () =>
  all("[data-search], main [role=search] input:not([type=hidden]), main input[type=search], #find")
    .find(isSeen) ?? null;

const keys = {
  "?": help,
  "/": () => {
    searchField()?.focus();
    searchField()?.select();
  },
  j: () => step(1),
  k: () => step(-1),
  x: () => select(false),
  "Shift+x": () => select(true),
  u: () => all(".crumbs a").at(-1)?.click(),
};

// An error that is shown is gone to where it is; the links to others lead on from there.
const nearer = { e: () => step(1, isError), "Shift+e": () => step(-1, isError) };

// As aria-keyshortcuts writes it: letters small but for Shift, other characters as they are.
function written(event) {
  const { key } = event;
  const isLetter = /^[a-z]$/i.test(key);
  return isLetter && event.shiftKey ? `Shift+${key.toLowerCase()}` : key;
}

function activate(control) {
  const isOwn = control.matches("button[type=button], summary");
  if (control.matches("a") || isOwn) control.click();
  else control.focus();
}

function handleKey(event, copyText) {
  if (event.defaultPrevented || event.isComposing) return;
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
    event.preventDefault();
    menu();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || opened) return;
  if (event.target.closest?.(FIELDS) || root.dataset.shortcuts === "off") return;
  const key = written(event);
  if (nearer[key]?.()) return event.preventDefault();
  const control = keyed().find((element) =>
    element.getAttribute("aria-keyshortcuts").split(" ").some((x) => same(x, key)),
  );
  const act = control ? () => activate(control) : key === "y" ? () => copyText(copied()) : keys[key];
  if (!act) return;
  event.preventDefault();
  act();
}

// Shift+G and Shift+g are one key; g and G are not.
const same = (name, key) =>
  name === key || (name.length > 1 && name.toLowerCase() === key.toLowerCase());

// --- wiring ----------------------------------------------------------------------------------

const pressed = {
  copy,
  reveal,
  zoneOfBrowser: chooseZone,
  liveToggle: () => setPaused(!isOff()),
  liveShow: showWaiting,
  keys: help,
};

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  closeMenus(event.target.closest("details.menu"));
  for (const name in pressed) if (button && name in button.dataset) pressed[name](button);
});
document.addEventListener("change", (event) => {
  if (event.target.matches("input[data-select]")) draw();
});
document.addEventListener("submit", changeTheme);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !closeDialogs()) {
    closeMenus(null);
    unselect();
  } else handleKey(event, copyText);
});

document.querySelector("[data-focus]")?.focus();
// A permalink's row is where its reader goes on from. A browser that scrolls to a fragment takes the
// focus away, which it is done with only some time after the page is loaded.
const permalink = () => document.querySelector(".log li:target > a")?.focus({ preventScroll: true });

// Only who comes to an edge of a window that leads on needs what joins windows.
const log = document.querySelector("ol.log");
function joinWindows() {
  const { top, bottom } = log.getBoundingClientRect();
  const edge = bottom < 2 * innerHeight ? "next" : top > -innerHeight ? "prev" : "";
  if (!document.querySelector(`nav.pager a[rel="${edge}"]`)) return;
  removeEventListener("scroll", joinWindows);
  import("./windows.js");
}
if (log) addEventListener("scroll", joinWindows, { passive: true });

addEventListener("load", () => requestAnimationFrame(permalink));
start();
