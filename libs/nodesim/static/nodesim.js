// The page of a simulated node: makes tasks (init, parallel uploads, commit) and shows the ones there are.
//
// A failure of this API is 200 with {"error": ...}: `call` is the one place that knows it. The token in the page's
// address goes with every request. All addresses are at the root, so that the page also works through a proxy.
"use strict";

const PARALLEL_UPLOADS = 6;
const TRIES = 5;
const RETRY_WAIT_MS = 1000;
const POLL_MS = 1500;
const STATUS = { 10: "Queued", 20: "Running", 30: "Failed", 40: "Completed", 50: "Canceled" };
const ENDED = [30, 40, 50];

const $ = (id) => document.getElementById(id);
const token = new URLSearchParams(location.search).get("token");

/** Address of a request, with the token. */
function address(path, params = {}) {
  const query = new URLSearchParams(params);
  if (token !== null) query.set("token", token);
  return query.size ? `${path}?${query}` : path;
}

/** A refusal by the node: trying again would not help. */
class Refusal extends Error {}

/** Read an answer; an error under 200 is an error too. */
function decode(status, text) {
  if (status < 200 || status > 299) throw new Error(`The node answered ${status}.`);
  let content;
  try {
    content = JSON.parse(text);
  } catch {
    throw new Error("The node's answer makes no sense.");
  }
  if (content && content.error !== undefined) throw new Refusal(content.error);
  return content;
}

async function call(path, { params, ...init } = {}) {
  const answer = await fetch(address(path, params), init);
  return decode(answer.status, await answer.text());
}

const post = (path, fields) => call(path, { method: "POST", body: new URLSearchParams(fields) });

/* ---- The new task ---- */

const form = { files: [], options: [], upload: null };

function addFiles(list) {
  // Cameras count from 1 on every card: files of one name are different images, unless they are the same file.
  const key = (file) => `${file.name} ${file.size} ${file.lastModified}`;
  const known = new Set(form.files.map(key));
  form.files.push(...[...list].filter((file) => !known.has(key(file))));
  showForm();
}

function showForm() {
  const count = form.files.length;
  const bytes = form.files.reduce((sum, file) => sum + file.size, 0);
  $("chosen").hidden = count === 0;
  $("chosen-text").textContent = `${count} ${count === 1 ? "file" : "files"}, ${size(bytes)}`;
  $("start").disabled = count === 0 || form.upload !== null;
  $("stop").hidden = $("upload").hidden = form.upload === null;
  $("clear").disabled = form.upload !== null;
  const changed = chosenOptions().length;
  $("options-count").hidden = changed === 0;
  $("options-count").textContent = `${changed} changed`;
}

function showUpload(upload) {
  const sent = upload.done + [...upload.partial.values()].reduce((sum, part) => sum + part, 0);
  $("upload-bar").value = upload.bytes ? sent / upload.bytes : 0;
  const again = upload.retries ? `, ${upload.retries} tried again` : "";
  $("upload-text").textContent = `${upload.stored} of ${upload.files.length} files, ${size(sent)} of ${size(upload.bytes)}${again}`;
}

async function startTask() {
  const files = [...form.files];
  const bytes = files.reduce((sum, file) => sum + file.size, 0);
  const upload = { files, bytes, done: 0, stored: 0, retries: 0, partial: new Map(), abort: new AbortController() };
  form.upload = upload;
  problem("");
  showForm();
  showUpload(upload);
  try {
    const fields = new FormData();
    fields.set("name", $("name").value.trim());
    fields.set("options", JSON.stringify(chosenOptions()));
    const { uuid } = await call("/task/new/init", { method: "POST", body: fields });
    await uploadAll(uuid, upload);
    await call(`/task/new/commit/${uuid}`, { method: "POST" });
    form.files = [];
    $("name").value = "";
  } catch (error) {
    upload.abort.abort();
    problem(error.name === "AbortError" ? "The upload was stopped." : words(error));
  } finally {
    form.upload = null;
    $("files").value = "";
    showForm();
    refresh();
  }
}

/** Send all files, several at a time; the first failure ends it. */
async function uploadAll(uuid, upload) {
  const waiting = [...upload.files];
  const worker = async () => {
    for (let file = waiting.shift(); file; file = waiting.shift()) {
      await uploadFile(uuid, file, upload);
      upload.stored += 1;
      upload.done += file.size;
      upload.partial.delete(file);
      showUpload(upload);
    }
  };
  await Promise.all(Array.from({ length: PARALLEL_UPLOADS }, worker));
}

async function uploadFile(uuid, file, upload) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await sendFile(uuid, file, upload);
    } catch (error) {
      const hopeless = error instanceof Refusal || error.name === "AbortError" || attempt === TRIES;
      if (hopeless) throw error.name === "AbortError" ? error : new Error(`${file.name}: ${words(error)}`);
      upload.retries += 1;
      await new Promise((done) => setTimeout(done, RETRY_WAIT_MS * attempt));
    }
  }
}

/** One file in one request; XMLHttpRequest, because fetch does not tell how much has been sent. */
function sendFile(uuid, file, upload) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const body = new FormData();
    body.append("images", file, file.name);
    request.open("POST", address(`/task/new/upload/${uuid}`));
    request.upload.onprogress = (event) => {
      upload.partial.set(file, Math.min(file.size, event.loaded));
      showUpload(upload);
    };
    request.onload = () => {
      try {
        resolve(decode(request.status, request.responseText));
      } catch (error) {
        reject(error);
      }
    };
    request.onerror = () => reject(new Error("The connection broke."));
    request.onabort = () => reject(new DOMException("stopped", "AbortError"));
    upload.abort.signal.addEventListener("abort", () => request.abort());
    if (upload.abort.signal.aborted) request.onabort();
    else request.send(body);
  });
}

/* ---- Options ---- */

async function loadOptions() {
  form.options = (await call("/options")).map((option) => ({ ...option, input: control(option) }));
  $("options").replaceChildren(...form.options.map(optionRow));
  showForm();
}

function control(option) {
  const isBool = option.type === "bool";
  if (isBool || option.type === "enum") {
    const select = document.createElement("select");
    const values = isBool ? ["false", "true"] : option.domain;
    select.append(...values.map((value) => new Option(value || "(none)", value, value === option.value, value === option.value)));
    return select;
  }
  const input = document.createElement("input");
  input.type = "text";
  input.value = option.value;
  return input;
}

function optionRow(option) {
  const row = document.createElement("label");
  row.className = "option";
  const name = document.createElement("span");
  name.textContent = option.name;
  const help = document.createElement("small");
  help.textContent = option.help;
  option.row = row;
  option.input.addEventListener("input", () => {
    row.classList.toggle("changed", option.input.value !== option.value);
    showForm();
  });
  row.append(name, option.input, help);
  return row;
}

const chosenOptions = () =>
  form.options
    .filter((option) => option.input.value !== option.value)
    .map((option) => ({ name: option.name, value: option.input.value }));

function filterOptions() {
  const wanted = $("options-filter").value.trim().toLowerCase();
  for (const option of form.options) option.row.hidden = !`${option.name} ${option.help}`.toLowerCase().includes(wanted);
}

/* ---- The tasks ---- */

const shown = new Map();

async function refresh() {
  try {
    const [info, list] = await Promise.all([call("/info"), call("/task/list")]);
    showAbout(info);
    const uuids = list.map((task) => task.uuid);
    for (const uuid of shown.keys()) if (!uuids.includes(uuid)) forget(uuid);
    for (const uuid of uuids) if (!shown.has(uuid)) shown.set(uuid, card(uuid));
    await Promise.all(uuids.map((uuid) => showTask(shown.get(uuid))));
    $("no-tasks").hidden = uuids.length > 0;
  } catch (error) {
    $("about").textContent = `Cannot reach the node: ${words(error)}`;
  }
}

async function poll() {
  await refresh();
  setTimeout(poll, POLL_MS);
}

function showAbout(info) {
  const limit = info.maxImages === null ? "" : `, at most ${info.maxImages} images each`;
  $("about").textContent = `${info.engine} ${info.engineVersion} · API ${info.version} · ${info.taskQueueCount} tasks waiting or running, ${info.maxParallelTasks} at a time${limit}`;
}

function card(uuid) {
  const root = $("task-template").content.firstElementChild.cloneNode(true);
  const part = (name) => root.querySelector(`.${name}`);
  const task = { uuid, root, part, lines: 0, info: null };
  const actions = { cancel: "/task/cancel", restart: "/task/restart", remove: "/task/remove" };
  for (const [name, path] of Object.entries(actions)) part(name).addEventListener("click", () => act(task, path));
  part("download").href = address(`/task/${uuid}/download/all.zip`);
  part("console-toggle").addEventListener("click", () => toggleConsole(task));
  $("tasks").prepend(root);
  return task;
}

function forget(uuid) {
  shown.get(uuid).root.remove();
  shown.delete(uuid);
}

async function act(task, path) {
  if (path === "/task/remove" && !confirm("Remove this task and its files?")) return;
  try {
    await post(path, { uuid: task.uuid });
    if (path === "/task/restart") clearConsole(task);
  } catch (error) {
    problem(words(error));
  }
  refresh();
}

async function showTask(task) {
  let info;
  try {
    info = await call(`/task/${task.uuid}/info`);
  } catch (error) {
    if (error instanceof Refusal) return;
    throw error;
  }
  const { code, errorMessage } = info.status;
  const over = ENDED.includes(code);
  task.info = info;
  task.root.dataset.code = code;
  task.part("task-name").textContent = info.name || task.uuid;
  task.part("badge").textContent = code === 20 && info.progress ? `Running ${Math.floor(info.progress)} %` : STATUS[code];
  task.part("task-facts").textContent = facts(info);
  task.part("task-progress").hidden = over;
  task.part("task-progress").value = info.progress;
  task.part("task-problem").hidden = code !== 30;
  task.part("task-problem").textContent = errorMessage || "The task failed.";
  task.part("download").hidden = code !== 40;
  task.part("restart").hidden = !over;
  task.part("cancel").hidden = over;
  if (!task.part("console").hidden) await showConsole(task);
}

function facts(info) {
  const images = `${info.imagesCount} ${info.imagesCount === 1 ? "image" : "images"}`;
  const took = info.processingTime >= 0 ? [duration(info.processingTime)] : [];
  const options = info.options.map((option) => `${option.name}: ${option.value}`).join(", ");
  return [images, ...took, new Date(info.dateCreated).toLocaleString(), options].filter(Boolean).join(" · ");
}

async function toggleConsole(task) {
  const console_ = task.part("console");
  console_.hidden = !console_.hidden;
  task.part("console-toggle").setAttribute("aria-expanded", String(!console_.hidden));
  if (!console_.hidden) await showConsole(task);
}

function clearConsole(task) {
  task.lines = 0;
  task.part("console").textContent = "";
}

/** Fetch the lines that are new, and follow the end unless the reader has scrolled up. */
async function showConsole(task) {
  if (task.reading) return;
  task.reading = true;
  try {
    const lines = await call(`/task/${task.uuid}/output`, { params: { line: task.lines } });
    const console_ = task.part("console");
    const atEnd = console_.scrollHeight - console_.scrollTop - console_.clientHeight < 40;
    task.lines += lines.length;
    console_.append(...lines.map((line) => `${line.trimEnd()}\n`));
    if (atEnd) console_.scrollTop = console_.scrollHeight;
  } finally {
    task.reading = false;
  }
}

/* ---- Words ---- */

function problem(text) {
  $("problem").textContent = text;
  $("problem").hidden = text === "";
}

/** An error as a sentence; bad options come as a JSON array inside the text. */
function words(error) {
  try {
    return JSON.parse(error.message).map((bad) => `${bad.name}: ${bad.error}`).join("; ");
  } catch {
    return error.message;
  }
}

function size(bytes) {
  const units = ["bytes", "KB", "MB", "GB", "TB"];
  const power = bytes < 1000 ? 0 : Math.min(4, Math.floor(Math.log10(bytes) / 3));
  return `${power ? (bytes / 1000 ** power).toFixed(1) : bytes} ${units[power]}`;
}

function duration(ms) {
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  return seconds < 3600 ? `${Math.floor(seconds / 60)} min ${seconds % 60} s` : `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

/* ---- Wiring ---- */

$("files").addEventListener("change", (event) => addFiles(event.target.files));
$("clear").addEventListener("click", () => {
  form.files = [];
  $("files").value = "";
  showForm();
});
$("stop").addEventListener("click", () => form.upload?.abort.abort());
$("options-filter").addEventListener("input", filterOptions);
$("new-task").addEventListener("submit", (event) => {
  event.preventDefault();
  startTask();
});
for (const kind of ["dragenter", "dragover"]) {
  $("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.add("over");
  });
}
for (const kind of ["dragleave", "drop"]) $("drop").addEventListener(kind, () => $("drop").classList.remove("over"));
$("drop").addEventListener("drop", (event) => {
  event.preventDefault();
  addFiles(event.dataTransfer.files);
});
loadOptions().catch((error) => problem(words(error)));
poll();
