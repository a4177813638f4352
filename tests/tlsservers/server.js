// node server.js PORT CERTIFICATE KEY LOG VERSION: writes down and answers as recording.py does.
const crypto = require('crypto');
const fs = require('fs');

const [port, certificate, key, log, version] = process.argv.slice(2);
const options = {
  allowHTTP1: true, cert: fs.readFileSync(certificate), key: fs.readFileSync(key), minVersion: `TLSv${version}`, maxVersion: `TLSv${version}`,
};
require('http2').createSecureServer(options, (request, response) => {
  const parts = [];
  request.on('data', part => parts.push(part));
  request.on('end', () => {
    const body = Buffer.concat(parts);
    const sum = crypto.createHash('sha256').update(body).digest('hex');
    const line = `${request.method} ${request.url} ${body.length} ${sum}\n`;
    fs.appendFileSync(log, line);
    response.setHeader('Content-Type', 'text/plain');
    response.end(line + 'x'.repeat(body.length % 40000));
  });
}).listen({port: Number(port), host: '127.0.0.1', backlog: 512});
