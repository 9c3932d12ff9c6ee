// Two small programs for namespaces, which tell how a NAT translates:
//   serve ADDRESS PORT PORT   answers each datagram with the port that it came from
//   ask ADDRESS PORT PORT     prints as JSON what the two see of one and the same socket
import { createSocket } from 'node:dgram';

const [what, address, ...ports] = process.argv.slice(2);
if (what === 'serve') {
  let listening = 0;
  for (const port of ports) {
    const socket = createSocket('udp4');
    socket.on('message', (_, from) => socket.send(String(from.port), from.port, from.address));
    socket.bind(Number(port), address, () => {
      if (++listening === ports.length) console.log('ready');
    });
  }
} else {
  const seen = {};
  const socket = createSocket('udp4');
  const ask = () => ports.forEach(port => seen[port] ?? socket.send('?', Number(port), address));
  const again = setInterval(ask, 200);
  const giveUp = setTimeout(() => {
    console.error(`no answer from ${address} within 5 s, only ${JSON.stringify(seen)}`);
    process.exit(1);
  }, 5000);
  socket.on('message', (answer, from) => {
    seen[from.port] = Number(String(answer));
    if (Object.keys(seen).length < ports.length) return;
    clearInterval(again);
    clearTimeout(giveUp);
    socket.close();
    console.log(JSON.stringify(ports.map(port => seen[port])));
  });
  ask();
}
