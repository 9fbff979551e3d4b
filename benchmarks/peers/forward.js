// Sends a folder to a node with node-libcurl, one file per request, so many at once; prints CPU seconds and wall seconds as JSON.
//
//   node forward.js <url of the upload> <folder> <at once>
'use strict';

const fs = require('fs');
const path = require('path');
const { createRequire } = require('module');
const { Curl } = createRequire(path.join(process.cwd(), 'package.json'))('node-libcurl');

const [url, folder, atOnce] = process.argv.slice(2);
const files = fs.readdirSync(folder).sort();
const bytes = files.reduce((sum, name) => sum + fs.statSync(path.join(folder, name)).size, 0);
const before = process.cpuUsage();
const began = process.hrtime.bigint();

function send(name) {
  return new Promise((done, failed) => {
    const curl = new Curl();
    curl.setOpt('URL', url);
    curl.setOpt('HTTPHEADER', ['Expect:']);
    curl.setOpt('HTTPPOST', [{ name: 'images', file: path.join(folder, name), type: 'image/jpeg' }]);
    curl.on('end', (status, body) => {
      curl.close();
      if (status === 200) done(); else failed(new Error(`${status}: ${body}`));
    });
    curl.on('error', (error) => { curl.close(); failed(error); });
    curl.perform();
  });
}

async function worker() {
  for (let name = files.shift(); name !== undefined; name = files.shift()) await send(name);
}

Promise.all(Array.from({ length: Number(atOnce) }, worker)).then(() => {
  const used = process.cpuUsage(before);
  console.log(JSON.stringify({
    bytes, cpu_s: (used.user + used.system) / 1e6, seconds: Number(process.hrtime.bigint() - began) / 1e9,
  }));
}, (error) => { console.error(error.message); process.exit(1); });
