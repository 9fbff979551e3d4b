// The console of a task: what is new is asked for again and again, searched here, and followed while its end is in sight.
"use strict";

(() => {
  const PAUSE_MS = 2000;
  const MOST_LINES = 20000;
  const OF_PAGES = { "X-Requested-With": "ClusterODM" };
  const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu; // as rendering/text.py
  const box = document.getElementById("console");
  const follow = document.getElementById("console-follow");
  const search = document.getElementById("console-search");
  const found = document.getElementById("console-found");
  const escaped = (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  const visible = (text) => text.replace(HIDDEN, (sign) => sign.split("").map(escaped).join(""));
  let next = 0;
  let ended = false;

  const fits = (line) => !search.value || line.textContent.toLowerCase().includes(search.value.toLowerCase());

  function add(lines) {
    const fragment = document.createDocumentFragment();
    for (const line of lines) {
      const element = document.createElement("span");
      element.textContent = `${visible(line)}\n`;
      element.hidden = !fits(element);
      fragment.append(element);
    }
    box.append(fragment);
    while (box.childElementCount > MOST_LINES) box.firstElementChild.remove();
    if (lines.length && follow.checked) box.scrollTop = box.scrollHeight;
    count();
  }

  function count() {
    found.textContent = search.value ? `${[...box.children].filter((line) => !line.hidden).length} lines` : "";
  }

  async function look() {
    try {
      if (document.getElementById("gone")) return;
      const response = await fetch(`${box.dataset.href}?from_line=${next}`, { headers: OF_PAGES, signal: AbortSignal.timeout(20000) });
      if (response.status === 404) return;
      if (response.ok) {
        const answer = await response.json();
        add(answer.lines);
        ended = answer.ended && !answer.lines.length;
        next = answer.next_line;
      }
    } catch { /* the next look tells */ }
    setTimeout(look, ended ? 5 * PAUSE_MS : PAUSE_MS);
  }

  search.addEventListener("input", () => {
    for (const line of box.children) line.hidden = !fits(line);
    count();
  });
  box.addEventListener("scroll", () => {
    follow.checked = box.scrollTop + box.clientHeight >= box.scrollHeight - 8;
  });
  follow.addEventListener("change", () => {
    if (follow.checked) box.scrollTop = box.scrollHeight;
  });
  look();
})();
