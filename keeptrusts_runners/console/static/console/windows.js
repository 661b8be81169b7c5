// Windows of a log that join as their reader comes to an edge, through the links that lead there.
// At most MOST rows stay, and the one that is read does not move.

const MOST = 2000;
const NEAR = 600;

const log = document.querySelector("ol.log");
const pagers = () => [...document.querySelectorAll("nav.pager")];
const linkTo = (way, within = document) => within.querySelector(`nav.pager a[rel=${way}]`);
const seq = (row) => Number(row.dataset.seq);
let busy = false;

function readRow() {
  return [...log.children].find((row) => row.getBoundingClientRect().bottom > 0) ?? log.firstElementChild;
}

async function windowBehind(link) {
  const answer = await fetch(link.href, { headers: { Accept: "text/html" } });
  if (!answer.ok) return null;
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

// What is in sight stays there, whatever comes or goes above it.
function keepingPlace(change) {
  const row = readRow();
  const before = row.getBoundingClientRect().top;
  log.style.overflowAnchor = "none";
  change();
  scrollBy({ top: row.getBoundingClientRect().top - before, behavior: "instant" });
  requestAnimationFrame(() => {
    log.style.overflowAnchor = "";
  });
}

function add(way, rows) {
  if (way === "next") log.append(...rows);
  else log.prepend(...rows);
  const spare = () => (way === "next" ? log.firstElementChild : log.lastElementChild);
  let dropped = false;
  while (log.children.length > MOST) {
    spare().remove();
    dropped = true;
  }
  return dropped;
}

// The links lead on from the rows that are there now.
function lead(way, page, dropped) {
  const [first, last] = [log.firstElementChild, log.lastElementChild].map(seq);
  for (const pager of pagers()) {
    const own = pager.querySelector(`a[rel=${way}]`);
    const following = linkTo(way, page);
    if (following && own) own.href = following.getAttribute("href");
    else own?.remove();
    const other = pager.querySelector(`a[rel=${way === "next" ? "prev" : "next"}]`);
    if (dropped && other) {
      const url = new URL(other.href);
      url.searchParams.set(way === "next" ? "before" : "after", way === "next" ? first : last);
      other.href = url.href;
    }
    const place = pager.querySelector(".muted");
    const span = `${first.toLocaleString("en")} to ${last.toLocaleString("en")}`;
    if (place) place.textContent = place.textContent.replace(/^[\d,]+ to [\d,]+/, span);
  }
}

// What is followed keeps its end, to which rows are added.
function losesItsEnd(way, rows) {
  return way === "prev" && "follow" in log.dataset && log.children.length + rows.length > MOST;
}

async function join(way) {
  const link = linkTo(way);
  if (busy || !link) return;
  busy = true;
  try {
    const page = await windowBehind(link);
    const rows = [...(page?.querySelectorAll("ol.log > li[data-seq]") ?? [])];
    if (rows.length && !losesItsEnd(way, rows)) {
      keepingPlace(() => lead(way, page, add(way, rows.map((row) => document.importNode(row, true)))));
    }
  } catch {
    // The links are there for whoever wants to go on.
  } finally {
    busy = false;
  }
}

function look() {
  const box = log.getBoundingClientRect();
  if (box.bottom < innerHeight + NEAR) join("next");
  else if (box.top > -NEAR) join("prev");
}

addEventListener("scroll", look, { passive: true });
look();
