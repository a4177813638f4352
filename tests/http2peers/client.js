// node client.js URL COUNT [CA]: COUNT requests on one connection, ten at a time; every third has content. Fails unless
// all are answered with 200.
const fs = require('fs');
const http2 = require('http2');

const [url, count, ca] = process.argv.slice(2);
const session = http2.connect(url, ca ? {ca: fs.readFileSync(ca)} : {});
session.on('error', error => { console.error(error); process.exit(1); });
let next = 0, over = 0;

function ask() {
  if (next == Number(count)) return;
  const number = next++;
  const body = number % 3 ? null : Buffer.alloc(number * 997 % 70000 + 1, number);
  const stream = session.request({':method': body ? 'POST' : 'GET', ':path': `/item/${number}`, 'x-request-id': `id-${number}`});
  stream.on('response', headers => { if (headers[':status'] != 200) { console.error(headers); process.exit(1); } });
  stream.on('data', () => {});
  stream.on('end', () => {
    if (++over == Number(count)) session.close(); else ask();
  });
  stream.end(body ?? undefined);
}
for (let at = 0; at < 10; at++) ask();
session.on('close', () => process.exit(over == Number(count) ? 0 : 1));
