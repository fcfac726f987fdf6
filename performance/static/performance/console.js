// A page whose refresh fails says so, and one that somebody has logged out of asks for the login.
"use strict";

const failing = new Set();

document.addEventListener("htmx:beforeSwap", (event) => {
  if (new URL(event.detail.xhr.responseURL).pathname.endsWith("/login/")) {
    event.detail.shouldSwap = false;
    location.reload();
  }
});

document.addEventListener("htmx:afterRequest", (event) => {
  const path = event.detail.pathInfo.requestPath.split("?")[0];
  if (event.detail.successful) failing.delete(path);
  else failing.add(path);
  const note = document.getElementById("console-stale");
  if (note.hidden && failing.size) {
    note.querySelector("time").textContent = new Date().toISOString().slice(11, 19);
  }
  note.hidden = failing.size === 0;
});
