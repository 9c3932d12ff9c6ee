// The internet on one machine: a server, and two homes behind a router each, as network namespaces.
//
//      host-a 10.1.0.2 ── 10.1.0.1 router-a 203.0.113.21 ──┐
//                                                          ├── 203.0.113.10 server
//      host-b 10.2.0.2 ── 10.2.0.1 router-b 203.0.113.22 ──┘
//
// The two routers reach each other, so a direct path exists wherever the NATs leave one. Everything
// made here carries the process id in its name and goes away with the process; what a killed run
// left behind is removed by the next one.
import { spawn, spawnSync } from 'node:child_process';
import { ruleset } from './nats.mjs';

export const SERVER = '203.0.113.10';
const SIDES = {
  a: { wan: '203.0.113.21', gateway: '10.1.0.1', host: '10.1.0.2' },
  b: { wan: '203.0.113.22', gateway: '10.2.0.1', host: '10.2.0.2' },
};

// Runs a command to its end; throws what it said if it failed.
export function run(command, args, input) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { input, encoding: 'utf8' });
  if (error) throw error;
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${status}: ${stderr.trim()}`);
  return stdout;
}

const succeeds = (command, args) => spawnSync(command, args, { stdio: 'ignore' }).status === 0;

export class Network {
  #names;
  #children = new Set();

  constructor() {
    removeStale();
    const prefix = `hairpin-${process.pid}`;
    this.#names = ['server', 'router-a', 'router-b', 'host-a', 'host-b'].map(n => `${prefix}-${n}`);
    process.once('exit', () => this.remove());
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
      process.once(signal, () => process.exit(130));
    }

    for (const name of this.#names) {
      run('ip', ['netns', 'add', name]);
      this.#ip(name, 'link set lo up');
    }
    const server = this.name('server');
    this.#ip(server, 'link add internet type bridge forward_delay 0');
    this.#ip(server, `addr add ${SERVER}/24 dev internet`);
    this.#ip(server, 'link set internet up');
    // As on a real host, there is a route to everywhere: what has no place in this picture vanishes
    // without an error.
    this.#ip(server, 'link add elsewhere type bridge');
    this.#ip(server, 'link set elsewhere arp off up');
    this.#ip(server, 'route add default dev elsewhere');
    for (const [side, { wan, gateway, host }] of Object.entries(SIDES)) {
      const router = this.name(`router-${side}`), home = this.name(`host-${side}`);
      // Each end of a cable is born in the namespace where it belongs; the machine's own one never
      // sees it.
      this.#ip(server, `link add port-${side} type veth peer name wan netns ${router}`);
      this.#ip(server, `link set port-${side} master internet up`);
      this.#ip(router, `link add lan type veth peer name eth0 netns ${home}`);
      this.#ip(router, `addr add ${wan}/24 dev wan`);
      this.#ip(router, `addr add ${gateway}/24 dev lan`);
      this.#ip(router, 'link set wan up');
      this.#ip(router, 'link set lan up');
      this.#ip(home, `addr add ${host}/24 dev eth0`);
      this.#ip(home, 'link set eth0 up');
      this.#ip(home, `route add default via ${gateway}`);
      run('ip', ['netns', 'exec', router, 'sysctl', '-qw', 'net.ipv4.ip_forward=1']);
    }
  }

  name(role) {
    return `hairpin-${process.pid}-${role}`;
  }

  #ip(namespace, words) {
    run('ip', ['-n', namespace, ...words.split(' ')]);
  }

  // Puts a NAT of this kind (and what else the router does to packets) in front of one side.
  nat(side, kind) {
    const router = this.name(`router-${side}`);
    run('ip', ['netns', 'exec', router, 'nft', '-f', '-'], ruleset(kind, SERVER, SIDES[side]));
    this.forget(side);
  }

  // The router loses its table of connections, as when it is switched off and on; or only what it
  // knows of `protocol`.
  forget(side, protocol) {
    const what = protocol ? ['--delete', '--proto', protocol] : ['--flush'];
    run('ip', ['netns', 'exec', this.name(`router-${side}`), 'conntrack', ...what]);
  }

  // Starts a program in a namespace; it ends with this process at the latest.
  start(role, command, args, options = {}) {
    const child = spawn('ip', ['netns', 'exec', this.name(role), command, ...args], options);
    this.#children.add(child);
    child.once('exit', () => this.#children.delete(child));
    return child;
  }

  // Runs a program in a namespace to its end and returns what it printed.
  run(role, command, args) {
    return run('ip', ['netns', 'exec', this.name(role), command, ...args]);
  }

  remove() {
    for (const child of this.#children) child.kill('SIGKILL');
    for (const name of this.#names.splice(0)) removeNamespace(name);
  }
}

function removeNamespace(name) {
  // A namespace lives as long as a process in it, so those go first: all of them were started by a
  // test.
  const { stdout } = spawnSync('ip', ['netns', 'pids', name], { encoding: 'utf8' });
  for (const pid of (stdout ?? '').split('\n').filter(Boolean)) {
    try {
      process.kill(Number(pid), 'SIGKILL');
    } catch {
      // It ended by itself in between.
    }
  }
  spawnSync('ip', ['netns', 'del', name], { stdio: 'ignore' });
}

function removeStale() {
  for (const line of run('ip', ['netns', 'list']).split('\n')) {
    const [, name, pid] = line.match(/^(hairpin-(\d+)-\S+)/) ?? [];
    if (name && !succeeds('kill', ['-0', pid])) removeNamespace(name);
  }
}
