// Starts the server under test: the binary named by HAIRPIN, or what cargo built last.
import { spawn } from 'node:child_process';
import { X509Certificate, createHash } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { run } from './namespaces.mjs';
import { temporaryDirectory } from './temporary.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));
const target = process.env.CARGO_TARGET_DIR ?? join(here, '../../target');
export const binary = process.env.HAIRPIN ?? join(target, 'debug/hairpin');

// Starts hairpin on `address`, in the server's namespace of `network` if there is one, and returns
// when it answers. With a `securePort` it listens for TLS there. `allow` are the peers allowed on
// top of the defaults.
export async function startServer(options) {
  const { address, stunPort, httpPort, securePort, network, allow = [] } = options;
  const directory = temporaryDirectory('server');
  const config = join(directory, 'turnserver.toml'), log = join(directory, 'log');
  const at = port => JSON.stringify(`${address}:${port}`);
  writeFileSync(config, `
    realm = "example.org"
    [listen]
    udp = [${at(stunPort)}]
    tcp = [${at(stunPort)}]
    tls = [${securePort ? at(securePort) : ''}]
    dtls = []
    http = [${at(httpPort)}]
    [auth]
    secrets = ["s3cret"]
    users = [{ name = "user1", password = "test" }]
    [peers]
    allow = ${JSON.stringify(allow)}
    [signalling]
    demo = true
  `);
  const keyHash = securePort && certify(directory, address);
  const out = openSync(log, 'w');
  const how = { stdio: ['ignore', out, out], cwd: directory };
  const child = network
    ? network.start('server', binary, ['--config', config], how)
    : spawn(binary, ['--config', config], how);
  closeSync(out);
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);

  const server = {
    url: `http://${address}:${httpPort}`,
    secureUrl: `https://${address}:${securePort}`,
    keyHash,
    log: () => readFileSync(log, 'utf8'),
    async stop() {
      process.off('exit', kill);
      if (child.exitCode === null && child.signalCode === null) {
        const ended = new Promise(resolve => child.once('exit', resolve));
        const patience = setTimeout(kill, 5000);
        child.kill('SIGTERM');
        await ended;
        clearTimeout(patience);
      }
    },
  };
  const arguments_ = [join(here, 'ready.mjs'), address, String(stunPort), String(httpPort)];
  const probe = network
    ? network.start('server', process.execPath, arguments_, { stdio: ['ignore', 'ignore', 'pipe'] })
    : spawn(process.execPath, arguments_, { stdio: ['ignore', 'ignore', 'pipe'] });
  const complaint = text(probe.stderr);
  const [end] = await Promise.race([
    once(probe, 'exit'),
    once(child, 'exit').then(([code]) => [`the server ended: ${code}`]),
  ]);
  if (end !== 0) {
    probe.kill('SIGKILL');
    const said = server.log();
    await server.stop();
    throw new Error(`${binary} does not answer: ${end} ${await complaint}\nIts log:\n${said}`);
  }
  return server;
}

// Makes the certificate that a server finds in its directory if nothing else is said; the hash of
// its key, as Chromium takes it.
function certify(directory, address) {
  const [key, certificate] = ['key.pem', 'cert.pem'].map(name => join(directory, name));
  run('openssl', [
    'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2',
    '-subj', '/CN=hairpin', '-addext', `subjectAltName=IP:${address}`,
    '-keyout', key, '-out', certificate,
  ]);
  const { publicKey } = new X509Certificate(readFileSync(certificate));
  const der = publicKey.export({ type: 'spki', format: 'der' });
  return createHash('sha256').update(der).digest('base64');
}

// A TCP port of 127.0.0.1 that is free at the moment.
export function freePort() {
  return new Promise((resolve, reject) => {
    const socket = createServer();
    socket.once('error', reject);
    socket.listen(0, '127.0.0.1', () => {
      const { port } = socket.address();
      socket.close(() => resolve(port));
    });
  });
}
