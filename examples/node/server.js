// A chat-like server: plain requests, a WebSocket that echoes, an event stream. Standard library only.
'use strict';
const { createHash } = require('node:crypto');
const http = require('node:http');

const release = process.env.ALCEDO_RELEASE ?? 'none';
const port = Number(process.env.PORT);
const sockets = new Set();
const streams = new Set();

const server = http.createServer((request, response) => {
  const { pathname } = new URL(request.url, 'http://localhost');
  if (pathname === '/healthz') return answer(response, { status: 'ok', release });
  if (pathname === '/events') return events(request, response);
  if (pathname === '/orders' && request.method === 'POST') {
    let bytes = 0;
    request.on('data', (chunk) => (bytes += chunk.length));
    request.on('end', () => answer(response, { accepted_bytes: bytes, release }));
    return undefined;
  }
  return answer(response, { message: 'hello', release });
});
// Longer than a proxy keeps an idle connection: the app never closes one that is about to be used.
server.keepAliveTimeout = 75_000;

function answer(response, body) {
  response.setHeader('Content-Type', 'application/json');
  response.end(`${JSON.stringify(body)}\n`);
}

function events(request, response) {
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
  let count = 0;
  const send = () => response.write(`data: ${JSON.stringify({ count: count++, release })}\n\n`);
  send();
  const timer = setInterval(send, 200);
  streams.add(response);
  request.on('close', () => {
    clearInterval(timer);
    streams.delete(response);
  });
}

server.on('upgrade', (request, socket) => {
  const key = request.headers['sec-websocket-key'];
  if (!key) return socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n');
  const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  socket.write(
    'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
      `Sec-WebSocket-Accept: ${accept}\r\n\r\n`,
  );
  sockets.add(socket);
  let buffered = Buffer.alloc(0);
  socket.on('data', (chunk) => {
    buffered = readFrames(Buffer.concat([buffered, chunk]), socket);
  });
  socket.on('close', () => sockets.delete(socket));
  socket.on('error', () => sockets.delete(socket));
  return undefined;
});

// RFC 6455 §5.2, unfragmented frames up to 65,535 bytes: enough for an echo. Returns what is not a whole frame yet.
function readFrames(buffer, socket) {
  let rest = buffer;
  while (rest.length >= 2) {
    const opcode = rest[0] & 0x0f;
    const masked = (rest[1] & 0x80) !== 0;
    let length = rest[1] & 0x7f;
    let at = 2;
    if (length === 127) return socket.end(frame(8, closing(1009))) && Buffer.alloc(0);
    if (length === 126) {
      if (rest.length < 4) break;
      length = rest.readUInt16BE(2);
      at = 4;
    }
    const start = at + (masked ? 4 : 0);
    if (rest.length < start + length) break;
    const payload = Buffer.from(rest.subarray(start, start + length));
    if (masked) payload.forEach((byte, i) => (payload[i] = byte ^ rest[at + (i % 4)]));
    rest = rest.subarray(start + length);
    if (opcode === 8) socket.end(frame(8, payload));
    else if (opcode === 9) socket.write(frame(10, payload));
    else if (opcode === 1) socket.write(frame(1, Buffer.from(`${release} ${payload}`)));
  }
  return rest;
}

function frame(opcode, payload) {
  const short = payload.length < 126;
  const head = Buffer.alloc(short ? 2 : 4);
  head[0] = 0x80 | opcode;
  head[1] = short ? payload.length : 126;
  if (!short) head.writeUInt16BE(payload.length, 2);
  return Buffer.concat([head, payload]);
}

function closing(code) {
  const payload = Buffer.alloc(2);
  payload.writeUInt16BE(code);
  return payload;
}

process.on('SIGTERM', () => {
  for (const socket of sockets) socket.end(frame(8, closing(1001)));
  for (const stream of streams) stream.end();
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});

server.listen(port, '127.0.0.1', () => console.log(`${release} listens on 127.0.0.1:${port}`));
