// What multer answers to the bodies of multipart_cases.py: cases come in as JSON, answers go out. See there.
'use strict';
const { Readable } = require('stream');

const SILENT_MS = 1000;
const PEERS = { 'busboy 0.2.14': require('multer1'), 'busboy 1.6.0': require('multer2') };

function ask(multer, one) {
  return new Promise((resolve) => {
    const body = Buffer.from(one.body, 'latin1');
    const request = Readable.from(body.length ? [body] : []);
    request.headers = { 'content-type': one.type, 'content-length': String(body.length) };
    const timer = setTimeout(() => resolve({ silent: true }), SILENT_MS);
    const answer = (error) => {
      clearTimeout(timer);
      if (error) return resolve({ error: error.code || error.message });
      const files = (request.files || []).map((file) => [file.originalname, file.buffer.toString('latin1')]);
      resolve({ files, fields: { ...request.body } });
    };
    multer({ storage: multer.memoryStorage() }).array('images')(request, {}, answer);
  });
}

async function main() {
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  const answers = {};
  for (const one of JSON.parse(Buffer.concat(chunks))) {
    answers[one.id] = {};
    for (const [peer, multer] of Object.entries(PEERS)) {
      answers[one.id][peer] = await ask(multer, one);
    }
  }
  process.stdout.write(JSON.stringify(answers, null, 1) + '\n', () => process.exit(0));
}

process.on('uncaughtException', () => {});
main();
