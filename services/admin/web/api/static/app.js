// What pages do beside htmx: say what came of an act, ask before what cannot be undone, and show whether the cluster is heard.
"use strict";

const find = (selector, within = document) => within.querySelector(selector);

// On a narrow screen the pages stand in one line: the one that is shown is brought into view.
for (const page of document.querySelectorAll("nav a[aria-current]")) page.scrollIntoView({ block: "nearest", inline: "center" });

// --- what came of an act ---------------------------------------------------------------------------------------------

function say(text, kind) {
  const box = find("#said");
  const line = document.createElement("p");
  line.className = kind;
  line.textContent = text;
  box.replaceChildren(line);
  clearTimeout(say.timer);
  say.timer = setTimeout(() => box.replaceChildren(), kind === "bad" ? 12000 : 4000);
}

function errorOf(request) {
  if (request.status === 401) return "You are signed out: load this page again to sign in.";
  try {
    return JSON.parse(request.responseText).error || `The server answered ${request.status}.`;
  } catch {
    return request.status ? `The server answered ${request.status}.` : "The server does not answer.";
  }
}

document.addEventListener("htmx:afterRequest", (event) => {
  const { requestConfig, xhr, successful, elt } = event.detail;
  if (requestConfig.verb === "get") return;
  const dialog = elt.closest("dialog");
  if (!successful) {
    const problem = dialog && find(".problem", dialog);
    if (problem) {
      problem.textContent = errorOf(xhr);
      problem.hidden = false;
    } else say(errorOf(xhr), "bad");
    return;
  }
  if (dialog) dialog.close();
  let message = "";
  try {
    const answer = JSON.parse(xhr.responseText);
    message = answer.message;
    if (answer.secret) showSecret(answer);
  } catch { /* nothing is said */ }
  say(message || `${(elt.textContent || "").trim().split("\n")[0] || "It"}: done.`, "good");
  if (requestConfig.verb === "delete" && !requestConfig.path.startsWith("/api/v1/tokens/") && /^\/(tasks|nodes|tenants)\/./.test(location.pathname)) {
    location.assign(location.pathname.split("/").slice(0, 2).join("/"));
    return;
  }
  htmx.trigger("#live", "refresh");
});

// --- a secret is shown once: it is in this page until its dialog is closed, and nowhere else --------------------------

function showSecret(answer) {
  const dialog = find("#secret");
  find("#secret-text").textContent = answer.secret;
  find("#secret-of").textContent = `Token ${answer.id} of ${answer.tenant}`;
  dialog.addEventListener("close", () => { find("#secret-text").textContent = ""; }, { once: true });
  dialog.showModal();
}

// What may be left out, and is, is not sent.
document.addEventListener("htmx:configRequest", (event) => {
  for (const field of event.detail.elt.querySelectorAll("[data-optional]")) {
    if (!field.value) delete event.detail.parameters[field.name];
  }
});

// --- asking first ----------------------------------------------------------------------------------------------------

document.addEventListener("htmx:confirm", (event) => {
  const button = event.detail.elt;
  if (!button.dataset || !button.dataset.confirm) return;
  event.preventDefault();
  const dialog = find("#ask");
  find("#ask-title").textContent = button.dataset.title;
  find("#ask-text").textContent = button.dataset.confirm;
  find("#ask-yes").textContent = button.textContent.trim();
  dialog.returnValue = "";
  dialog.addEventListener("close", () => {
    if (dialog.returnValue === "yes") event.detail.issueRequest(true);
  }, { once: true });
  dialog.showModal();
});

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-open]");
  if (opener) {
    const dialog = document.getElementById(opener.dataset.open);
    const problem = find(".problem", dialog);
    if (problem) problem.hidden = true;
    dialog.showModal();
  }
  const closer = event.target.closest("[data-close]");
  if (closer) closer.closest("dialog").close();
});

// --- lists: filters count at once, text a moment later ---------------------------------------------------------------

let typing = 0;
const refilter = (form) => {
  const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
  const url = query.size ? `${form.getAttribute("action")}?${query}` : form.getAttribute("action");
  history.replaceState(null, "", url);
  const live = find("#live");
  live.setAttribute("hx-get", url);
  htmx.process(live);
  htmx.ajax("GET", url, { target: "#live", swap: "innerHTML" });
};
document.addEventListener("input", (event) => {
  const form = event.target.closest("form.tools");
  if (!form) return;
  clearTimeout(typing);
  typing = setTimeout(() => refilter(form), event.target.type === "search" ? 250 : 0);
});
document.addEventListener("submit", (event) => {
  const form = event.target.closest("form.tools");
  if (!form) return;
  event.preventDefault();
  clearTimeout(typing);
  refilter(form);
});

// --- what is open stays open, and what is read is not torn away ------------------------------------------------------
// While a dialog is open or an act is under way, too: a button that is no longer in the page would do nothing when its question is
// answered, and nobody would hear of what came of its act.

let missedSwap = false;
let actsCount = 0;
const isBusy = () => actsCount > 0 || Boolean(find("dialog[open]"));
const catchUp = () => {
  if (!missedSwap || isBusy()) return;
  missedSwap = false;
  htmx.trigger("#live", "refresh");
};
document.addEventListener("close", () => setTimeout(catchUp), { capture: true }); // when what was asked has begun
document.addEventListener("htmx:beforeSend", (event) => { actsCount += event.detail.requestConfig.verb !== "get"; });
document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.requestConfig.verb === "get") return;
  actsCount = Math.max(0, actsCount - 1);
  setTimeout(catchUp);
});
document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.target.id !== "live") return;
  missedSwap = missedSwap || isBusy();
  event.detail.shouldSwap = event.detail.shouldSwap && !isBusy() && !String(getSelection());
  window.openDetails = [...event.detail.target.querySelectorAll("details[open]")].map((each) => each.id);
  window.scrolled = [...event.detail.target.querySelectorAll(".scroll")].map((each) => each.scrollLeft);
});
document.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target.id !== "live") return;
  for (const id of window.openDetails || []) {
    const details = document.getElementById(id);
    if (details) details.open = true;
  }
  event.detail.target.querySelectorAll(".scroll").forEach((each, place) => {
    each.scrollLeft = (window.scrolled || [])[place] || 0;
  });
});

// --- a page that nobody sees does not listen ---------------------------------------------------------------------------
// A browser has six connections to a server, and each page that listens takes one of them: with seven windows nothing would be loaded any
// more. What has happened meanwhile is asked for when the page is seen again.

class SeenSource {
  constructor(url) {
    this.url = url;
    this.listeners = [];
    this.turn = () => (document.hidden ? this.rest() : this.listen());
    document.addEventListener("visibilitychange", this.turn);
    this.turn();
  }

  get readyState() {
    return this.source ? this.source.readyState : EventSource.CONNECTING;
  }

  listen() {
    if (this.source) return;
    this.source = new EventSource(this.url);
    for (const [name, listener] of this.listeners) this.source.addEventListener(name, listener);
    this.source.onopen = (event) => {
      this.onopen?.(event);
      if (this.rested) htmx.trigger("#live", "refresh");
      this.rested = false;
    };
    this.source.onerror = (event) => {
      if (this.readyState === EventSource.CLOSED) document.removeEventListener("visibilitychange", this.turn); // another one is made
      this.onerror?.(event);
    };
  }

  rest() {
    this.source?.close();
    this.source = null;
    this.rested = true;
  }

  close() {
    document.removeEventListener("visibilitychange", this.turn);
    this.rest();
  }

  addEventListener(name, listener) {
    this.listeners.push([name, listener]);
    this.source?.addEventListener(name, listener);
  }

  removeEventListener(name, listener) {
    this.listeners = this.listeners.filter((each) => each[1] !== listener);
    this.source?.removeEventListener(name, listener);
  }
}
htmx.createEventSource = (url) => new SeenSource(url);

// --- is the cluster heard --------------------------------------------------------------------------------------------

function link(text, kind) {
  const pill = find("#link");
  if (!pill || pill.textContent === text) return;
  pill.textContent = text;
  pill.className = `pill ${kind}`;
}
document.addEventListener("htmx:sseOpen", () => link("live", "good"));
document.addEventListener("htmx:sseError", async () => {
  link("not connected", "bad");
  const answer = await fetch("/r/info", { headers: { "X-Requested-With": "ClusterODM" } }).catch(() => null);
  if (answer?.status === 401) signInAgain();
});
document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.requestConfig.verb === "get" && event.detail.xhr.status === 401) signInAgain();
});

// What somebody has begun to write in a dialog is not torn away: there it is said when it is sent.
function signInAgain() {
  if (!isBusy()) location.reload();
}
document.addEventListener("htmx:sseBeforeMessage", (event) => {
  if (event.detail.type !== "away") link("live", "good");
});
