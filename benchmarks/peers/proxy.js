// A reverse proxy as one writes it in Node.js with the usual libraries: http-proxy without keep-alive towards the node, busboy for
// uploads. It does what the cluster's proxy does on each path and no more: it keeps no record, checks no token, forwards nothing.
//
//   node proxy.js <port> <port of the node> <folder for uploads>
'use strict';

const fs = require('fs');
const http = require('http');
const path = require('path');
const { createRequire } = require('module');

const packages = createRequire(path.join(process.cwd(), 'package.json'));
const httpProxy = packages('http-proxy');
const busboy = packages('busboy');

const [port, nodePort, folder] = process.argv.slice(2);
const relay = httpProxy.createProxyServer({ target: `http://127.0.0.1:${nodePort}` });
relay.on('error', (error, request, response) => {
  if (response.headersSent) response.destroy();
  else answer(response, 502, { error: error.message });
});

const info = {
  version: '1.5.3', taskQueueCount: 0, maxImages: null, maxParallelTasks: 100, engine: 'odm', engineVersion: '3.5.6',
  totalMemory: 17179869184, availableMemory: 12884901888, cpuCores: 4,
};
const routes = new Map(); // task -> node: asked for each request, as a cluster has to
const UPLOAD = /^\/task\/new\/upload\/([\w-]+)/;
const TASK = /^\/task\/([\w-]+)\//;

function answer(response, status, content) {
  const body = JSON.stringify(content);
  response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) });
  response.end(body);
}

function written(file, flush, done) {
  const stream = fs.createWriteStream(file, { autoClose: false });
  return stream.on('finish', () => {
    const close = () => fs.close(stream.fd, done);
    if (flush) fs.fsync(stream.fd, close);
    else close();
  });
}

function synced(place, done) {
  fs.open(place, (error, opened) => {
    if (error) throw error;
    fs.fsync(opened, (failed) => {
      if (failed) throw failed;
      fs.close(opened, done);
    });
  });
}

function store(request, response, task) {
  const place = path.join(folder, task);
  const flush = request.url.endsWith('?durable'); // each file and its name are on the disk before the answer
  fs.mkdirSync(place, { recursive: true });
  let open = 1;
  const taken = () => answer(response, 200, { success: true });
  const done = () => { if (--open === 0) { if (flush) synced(place, taken); else taken(); } };
  const parser = busboy({ headers: request.headers });
  parser.on('file', (name, content, about) => {
    open += 1;
    content.pipe(written(path.join(place, path.basename(about.filename)), flush, done));
  });
  parser.on('close', done);
  request.pipe(parser);
}

http.createServer((request, response) => {
  if (request.url === '/info') return answer(response, 200, info);
  const upload = request.method === 'POST' && UPLOAD.exec(request.url);
  if (upload) return store(request, response, upload[1]);
  const task = TASK.exec(request.url);
  if (task && !routes.has(task[1])) routes.set(task[1], nodePort);
  return relay.web(request, response);
}).listen(Number(port), '127.0.0.1', 2048);

process.stdin.on('end', () => process.exit(0)).resume();
