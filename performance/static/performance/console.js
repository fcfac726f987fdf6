// A page whose refresh fails says so, one that somebody has logged out of asks for the login, and
// what one is doing in a card outlasts its refresh.
"use strict";

const CONTROLS = "a, summary, button, input, select, pre, .console-scroll";
const failing = new Set();
const doing = new Map();

// What can be opened, scrolled or focused, by its table, its words, and which of those alike it is.
function named(card) {
  const found = new Map();
  const seen = new Map();
  for (const one of card.querySelectorAll(CONTROLS)) {
    const table = one.closest(".console-table")?.querySelector("h3")?.textContent;
    const words = one.getAttribute("aria-label") ?? one.textContent.trim();
    const name = JSON.stringify([one.tagName, table, words]);
    const before = seen.get(name) ?? 0;
    seen.set(name, before + 1);
    found.set(`${before} ${name}`, one);
  }
  return found;
}

document.addEventListener("htmx:beforeSwap", (event) => {
  if (new URL(event.detail.xhr.responseURL).pathname.endsWith("/login/")) {
    event.detail.shouldSwap = false;
    location.reload();
    return;
  }
  const card = event.detail.target;
  doing.set(card.id, [...named(card)].map(([name, one]) => ({
    name,
    isOpen: one.parentElement.open,
    left: one.scrollLeft,
    hasFocus: one === document.activeElement,
  })));
});

document.addEventListener("htmx:afterSwap", (event) => {
  const card = event.target;
  const controls = named(card);
  for (const { name, isOpen, left, hasFocus } of doing.get(card.id) ?? []) {
    const one = controls.get(name);
    if (!one) continue;
    if (isOpen) one.parentElement.open = true;
    if (left) one.scrollLeft = left;
    if (hasFocus) one.focus({ preventScroll: true });
  }
  doing.delete(card.id);
});

document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.successful) told(event.detail.target.id, true);
});

// A refresh that a click has overtaken did not fail.
for (const name of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) {
  document.addEventListener(name, (event) => told(event.detail.target.id, false));
}

function told(id, isWell) {
  if (isWell) failing.delete(id);
  else failing.add(id);
  const note = document.getElementById("console-stale");
  if (note.hidden && failing.size) {
    note.querySelector("time").textContent = new Date().toISOString().slice(11, 19);
  }
  note.hidden = failing.size === 0;
}
