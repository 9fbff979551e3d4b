// The admin page: asks for nodes and tasks again and again and changes only what has changed, so that nothing flickers and
// a button stays under the pointer. Everything from the server goes in as text, never as HTML.

const SHOWN = 200;
const PAUSE_MS = 2000;
const $ = (selector, within = document) => within.querySelector(selector);
const GIB = 1024 ** 3;

// --- asking -----------------------------------------------------------------------------------------------------------

async function ask(path, method = "GET", fields = undefined) {
  const response = await fetch(path, {
    method,
    headers: fields ? { "Content-Type": "application/json", "X-Requested-With": "ClusterODM" } : {},
    body: fields ? JSON.stringify(fields) : undefined,
    signal: AbortSignal.timeout(20000),
  });
  const found = await response.json().catch(() => null);
  if (!response.ok) throw new Error(found?.error || `The server answered ${response.status}.`);
  return { found, counts: JSON.parse(response.headers.get("X-Task-Counts") || "{}") };
}

// --- rows that are kept -----------------------------------------------------------------------------------------------

/** Names come from clients and nodes: what turns the direction of writing, or is invisible, is shown as JSON escapes it. */
function visible(text) {
  return String(text).replace(
    /[\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g,
    (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = visible(text);
  return made;
}

function setText(node, text) {
  const shown = visible(text);
  if (node.textContent !== shown) node.textContent = shown;
}

function setClass(node, name) {
  if (node.className !== name) node.className = name;
}

function setPills(cell, pills) {
  const wanted = JSON.stringify(pills);
  if (cell.dataset.pills === wanted) return;
  cell.dataset.pills = wanted;
  cell.replaceChildren(...pills.map(([text, kind]) => element("span", `pill ${kind}`, text)));
}

function setTitle(node, text) {
  const shown = visible(text);
  if (node.title !== shown) node.title = shown;
}

/** Bring a table's rows in line with the entries: rows are made, updated, moved and removed by key. */
function reconcile(body, entries, keyOf, make, update) {
  const rows = new Map([...body.children].map((row) => [row.dataset.key, row]));
  entries.forEach((entry, place) => {
    const key = keyOf(entry);
    let row = rows.get(key);
    if (!row) {
      row = make();
      row.dataset.key = key;
    }
    rows.delete(key);
    row.entry = entry;
    update(row, entry);
    if (body.children[place] !== row) body.insertBefore(row, body.children[place] || null);
  });
  for (const gone of rows.values()) gone.remove();
}

function cells(row, classes) {
  row.cells_ = classes.map((name) => row.appendChild(element("td", name)));
  return row.cells_;
}

function button(text, className, act) {
  const made = element("button", className, text);
  made.type = "button";
  made.addEventListener("click", act);
  return made;
}

// --- words ------------------------------------------------------------------------------------------------------------

function duration(ms) {
  if (ms < 0) return "";
  const seconds = Math.floor(ms / 1000);
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600), Math.floor(seconds / 60)];
  if (days > 1) return `${days} d`;
  if (hours) return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
  return minutes ? `${minutes} min` : `${seconds} s`;
}

function memory(bytes) {
  return bytes ? `${(bytes / GIB).toFixed(bytes < 10 * GIB ? 1 : 0)} GiB` : "";
}

const KIND = { waiting: "wait", forwarding: "busy", running: "busy", completed: "good", failed: "bad", canceled: "" };
const ENDED = new Set(["completed", "failed", "canceled"]);

// --- nodes ------------------------------------------------------------------------------------------------------------

function makeNode() {
  const row = element("tr");
  const [, name, , slots, , , , , acts] = cells(row, ["num soft", "", "", "", "num", "", "", "num", ""]);
  row.name_ = name.appendChild(element("span", "main"));
  row.trouble_ = name.appendChild(element("span", "sub"));
  row.bar_ = slots.appendChild(element("progress"));
  row.slots_ = slots.appendChild(element("span"));
  row.lock_ = acts.appendChild(button("Lock", "", () => toggleLock(row)));
  acts.append(" ", button("Delete", "danger", () => askDelete(row.entry)));
  return row;
}

function updateNode(row, node) {
  const [number, , state, , images, engine, api, size] = row.cells_;
  const info = node.nodeData.info;
  const seen = info.version !== undefined;
  const pills = [[node.isOnline ? "online" : "offline", node.isOnline ? "good" : "bad"]];
  if (node.isLocked) pills.push(["locked", "wait"]);
  if (node.nodeData.draining) pills.push(["draining", "wait"]);
  if (node.isAutoSpawned) pills.push(["machine", ""]);
  setText(number, String(node.number));
  setText(row.name_, node.name);
  setText(row.trouble_, node.isOnline ? "" : node.trouble);
  setTitle(row.trouble_, node.trouble);
  setPills(state, pills);
  row.bar_.hidden = !seen;
  row.bar_.max = Number(node.getMaxParallelTasks) || 1;
  row.bar_.value = Math.min(Number(node.getTaskQueueCount) || 0, row.bar_.max);
  setText(row.slots_, seen ? `${node.getTaskQueueCount}/${node.getMaxParallelTasks}` : "");
  setText(images, !seen ? "" : info.maxImages == null ? "no limit" : info.maxImages.toLocaleString("en"));
  setText(engine, seen ? node.getEngineInfo : "");
  setText(api, seen ? node.getVersion : "");
  setText(size, memory(info.totalMemory));
  setText(row.lock_, node.isLocked ? "Unlock" : "Lock");
}

async function toggleLock(row) {
  const { number, name, isLocked } = row.entry;
  row.lock_.disabled = true;
  await ask(isLocked ? "/r/node/unlock" : "/r/node/lock", "POST", { number, name }).catch(lost);
  await refresh();
  row.lock_.disabled = false;
}

function askDelete({ number, name, getTaskQueueCount }) {
  const busy = Number(getTaskQueueCount) > 0 ? ` It has ${getTaskQueueCount} task(s).` : "";
  confirmThen("Delete this node?", `${name} will get no more tasks from this cluster.${busy}`, "Delete", async () => {
    const { found } = await ask("/r/node", "DELETE", { number, name });
    if (found !== true) throw new Error("The list of nodes has changed. Look again.");
  });
}

// --- machines ---------------------------------------------------------------------------------------------------------

const MACHINE_KIND = { online: "good", busy: "busy", idle: "good", draining: "wait", destroying: "bad" };

function makeMachine() {
  const row = element("tr");
  const [, name, state, , , , , , acts] = cells(row, ["num soft", "", "", "", "", "num", "num", "num", ""]);
  row.name_ = name.appendChild(element("span", "main"));
  row.state_ = state.appendChild(element("span"));
  row.reason_ = state.appendChild(element("span", "sub"));
  row.destroy_ = acts.appendChild(button("Destroy", "danger", () => askDestroy(row.entry)));
  return row;
}

function updateMachine(row, machine) {
  const [number, , , size, node, count, age, cost] = row.cells_;
  setText(number, String(machine.number));
  setText(row.name_, machine.name);
  setText(row.state_, machine.state);
  setClass(row.state_, `pill ${MACHINE_KIND[machine.state] || "wait"}`);
  setText(row.reason_, machine.reason);
  setTitle(row.reason_, machine.reason);
  setText(size, machine.region ? `${machine.size} in ${machine.region}` : machine.size);
  setText(node, machine.node);
  setText(count, String(machine.tasks.length));
  setText(age, duration(machine.age));
  setText(cost, machine.cost ? machine.cost.toFixed(2) : "");
  row.destroy_.hidden = machine.state === "destroying";
}

function askDestroy({ number, name, tasks }) {
  const busy = tasks.length ? " The task on it starts again elsewhere." : "";
  confirmThen("Destroy this machine?", `${name} will be given back.${busy}`, "Destroy", async () => {
    const { found } = await ask("/r/machine", "DELETE", { number, name });
    if (!found.success) throw new Error(found.error);
  });
}

function showMachines(status, machines) {
  $("#machines-card").hidden = !status.enabled;
  if (!status.enabled) return;
  const limit = status.machinesLimit == null ? "" : `, at most ${status.machinesLimit}`;
  setText($("#asr-provider"), `${status.provider}${limit}`);
  setText($("#asr-switch"), status.paused ? "Resume" : "Pause");
  setText($("#asr-reason"), status.reason);
  $("#asr-switch").dataset.path = status.paused ? "/r/asr/resume" : "/r/asr/pause";
  reconcile($("#machines tbody"), machines, (machine) => machine.name, makeMachine, updateMachine);
}

let asking = false;

/** An autoscaler that is away hides its section, and holds up neither nodes nor tasks. */
async function refreshMachines() {
  if (asking) return;
  asking = true;
  try {
    const { found: status } = await ask("/r/asr/status");
    showMachines(status, status.enabled ? (await ask("/r/machine/list")).found : []);
  } catch {
    $("#machines-card").hidden = true;
  }
  asking = false;
}

$("#asr-switch").addEventListener("click", async ({ target }) => {
  target.disabled = true;
  await ask(target.dataset.path, "POST", {}).catch(lost);
  await refreshMachines();
  target.disabled = false;
});

// --- tasks ------------------------------------------------------------------------------------------------------------

function makeTask() {
  const row = element("tr");
  const [name, state, progress, , , , , acts] = cells(row, ["", "", "", "num", "", "num", "num", ""]);
  row.name_ = name.appendChild(element("span", "main name"));
  row.id_ = name.appendChild(element("span", "sub id"));
  row.state_ = state.appendChild(element("span"));
  row.reason_ = state.appendChild(element("span", "sub"));
  row.bar_ = progress.appendChild(element("progress"));
  row.bar_.max = 100;
  row.percent_ = progress.appendChild(element("span"));
  row.cancel_ = acts.appendChild(button("Cancel", "danger", () => askCancel(row.entry)));
  return row;
}

function updateTask(row, task) {
  const [, , , images, node, time, age] = row.cells_;
  setText(row.name_, task.name);
  setTitle(row.name_, task.name);
  setText(row.id_, task.uuid);
  setText(row.state_, task.state + (task.position ? ` · ${ordinal(task.position)} in line` : ""));
  setClass(row.state_, `pill ${KIND[task.state]}`);
  setText(row.reason_, task.reason || (task.attempts > 1 ? `attempt ${task.attempts}` : ""));
  setTitle(row.reason_, task.reason);
  row.bar_.hidden = task.state === "waiting";
  row.bar_.value = task.progress;
  setText(row.percent_, task.state === "waiting" ? "" : `${Math.round(task.progress)} %`);
  setText(images, task.imagesCount === null ? "?" : task.imagesCount.toLocaleString("en"));
  setText(node, task.node);
  setText(time, duration(task.processingTime));
  setText(age, duration(Math.max(Date.now() - task.dateCommitted, 0)));
  row.cancel_.hidden = ENDED.has(task.state);
}

function ordinal(number) {
  const tail = number % 100 > 10 && number % 100 < 14 ? "th" : ["th", "st", "nd", "rd"][number % 10] || "th";
  return `${number}${tail}`;
}

function askCancel({ uuid, name }) {
  confirmThen("Cancel this task?", `“${name}” will stop. What it has computed so far is lost.`, "Cancel task", async () => {
    const { found } = await ask("/r/task/cancel", "POST", { uuid });
    if (!found.success) throw new Error(found.error);
  });
}

// --- dialogs ----------------------------------------------------------------------------------------------------------

function problem(form, text) {
  const place = $(".problem", form);
  place.hidden = !text;
  setText(place, text);
}

function onSubmit(form, act) {
  form.onsubmit = async (event) => {
    event.preventDefault();
    const go = $("[type=submit]", form);
    go.disabled = true;
    problem(form, "");
    try {
      await act(new FormData(form));
      form.closest("dialog").close();
      await refresh();
    } catch (error) {
      problem(form, error.message);
    }
    go.disabled = false;
  };
}

function confirmThen(title, text, verb, act) {
  const form = $("#ask-form");
  setText($("#ask-title"), title);
  setText($("#ask-text"), text);
  setText($("[type=submit]", form), verb);
  problem(form, "");
  onSubmit(form, act);
  $("#ask-dialog").showModal();
}

$("#add").addEventListener("click", () => {
  $("#add-form").reset();
  problem($("#add-form"), "");
  $("#add-dialog").showModal();
});
onSubmit($("#add-form"), async (fields) => {
  const { found } = await ask("/r/node/add", "POST", Object.fromEntries(fields));
  if (found.error) throw new Error(found.reason || found.error);
});
for (const close of document.querySelectorAll("[data-close]")) {
  close.addEventListener("click", () => close.closest("dialog").close());
}

// --- the page ---------------------------------------------------------------------------------------------------------

let show = "all";
let tasks = [];
let counts = {};

const SHOWS = {
  all: () => true,
  active: (task) => !ENDED.has(task.state),
  failed: (task) => task.state === "failed",
};

function showNodes(nodes) {
  reconcile($("#nodes tbody"), nodes, (node) => node.name, makeNode, updateNode);
  $("#no-nodes").hidden = nodes.length > 0;
  const online = nodes.filter((node) => node.isOnline);
  const sum = (key) => online.reduce((total, node) => total + (Number(node[key]) || 0), 0);
  setText($("#sum-online"), `${online.length} / ${nodes.length}`);
  setText($("#sum-slots"), `${sum("getTaskQueueCount")} / ${sum("getMaxParallelTasks")}`);
}

function showTasks() {
  const shown = tasks.filter(SHOWS[show]);
  reconcile($("#tasks tbody"), shown, (task) => task.uuid, makeTask, updateTask);
  $("#no-tasks").hidden = shown.length > 0;
  const sum = (...states) => states.reduce((total, state) => total + (counts[state] || 0), 0);
  setText($("#sum-waiting"), String(sum("waiting")));
  setText($("#sum-running"), String(sum("forwarding", "running")));
  setText($("#sum-completed"), String(sum("completed")));
  setText($("#sum-failed"), String(sum("failed")));
  const total = sum(...Object.keys(counts));
  $("#more").hidden = total <= tasks.length;
  setText($("#more"), `Chosen from the ${tasks.length} latest of ${total} tasks. All of them: clusterodm task list`);
}

function linked(text, kind) {
  setText($("#link"), text);
  setClass($("#link"), `pill ${kind}`);
  $("main").classList.toggle("stale", kind === "bad");
}

function lost(error) {
  linked(error.name === "TypeError" || error.name === "TimeoutError" ? "no connection" : error.message, "bad");
}

async function refresh() {
  try {
    const [nodes, found] = await Promise.all([ask("/r/node/list"), ask(`/r/task/list?last=${SHOWN}`)]);
    tasks = found.found;
    counts = found.counts;
    showNodes(nodes.found);
    showTasks();
    linked("live", "good");
    refreshMachines();
  } catch (error) {
    lost(error);
  }
}

for (const chip of document.querySelectorAll("[data-show]")) {
  chip.addEventListener("click", () => {
    show = chip.dataset.show;
    for (const other of document.querySelectorAll("[data-show]")) other.setAttribute("aria-pressed", String(other === chip));
    showTasks();
  });
}

/** Ask again after a pause that grows with the time an answer takes, and not while nobody looks. */
async function watch() {
  const began = performance.now();
  if (!document.hidden) await refresh();
  setTimeout(watch, Math.max(PAUSE_MS, 5 * (performance.now() - began)));
}

document.addEventListener("visibilitychange", () => document.hidden || refresh());
watch();
