// node server.js PORT LOG [CERTIFICATE KEY]: HTTP/2, in clear text or over TLS. Writes a line for each request, and
// answers with it, some content and a trailer.
const crypto = require('crypto');
const fs = require('fs');
const http2 = require('http2');

const [port, log, certificate, key] = process.argv.slice(2);
const server = certificate
  ? http2.createSecureServer({cert: fs.readFileSync(certificate), key: fs.readFileSync(key)})
  : http2.createServer();
server.on('stream', (stream, headers) => {
  const parts = [];
  stream.on('data', part => parts.push(part));
  stream.on('end', () => {
    const body = Buffer.concat(parts);
    const sum = crypto.createHash('sha256').update(body).digest('hex');
    const line = `${headers[':method']} ${headers[':path']} ${body.length} ${sum}\n`;
    fs.appendFileSync(log, line);
    stream.respond({':status': 200, 'content-type': 'text/plain'}, {waitForTrailers: true});
    stream.on('wantTrailers', () => stream.sendTrailers({'x-sum': sum}));
    stream.end(line + 'x'.repeat(body.length % 40000));
  });
});
server.listen(Number(port), '127.0.0.1');
