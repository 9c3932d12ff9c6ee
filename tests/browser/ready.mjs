// node ready.mjs ADDRESS STUN_PORT HTTP_PORT: ends well as soon as a server answers a Binding
// request over UDP there and a GET of its page, and badly after ten seconds. A program of its own
// because it runs in namespaces.
import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { get } from 'node:http';

const [address, stunPort, httpPort] = process.argv.slice(2);
const waiting = new Set(['STUN over UDP', 'the page over HTTP']);
const heard = what => {
  if (waiting.delete(what) && waiting.size === 0) process.exit(0);
};

const request = Buffer.concat([Buffer.from('000100002112a442', 'hex'), randomBytes(12)]);
const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
socket.on('message', answer => answer.readUInt16BE(0) === 0x0101 && heard('STUN over UDP'));
socket.on('error', () => {});

const probe = () => {
  socket.send(request, Number(stunPort), address);
  const host = address.includes(':') ? `[${address}]` : address;
  get(`http://${host}:${httpPort}/`, answer => {
    answer.resume();
    if (answer.statusCode === 200) heard('the page over HTTP');
  }).on('error', () => {});
};
setInterval(probe, 100);
setTimeout(() => {
  console.error(`${address}: no answer within 10 s from ${[...waiting].join(' nor ')}`);
  process.exit(1);
}, 10_000);
probe();
