// A laboratory: the network, the server in it, and a browser on each side.
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { startBrowser } from './browser.mjs';
import { Network, SERVER } from './namespaces.mjs';
import { startServer } from './server.mjs';

const MIRROR = fileURLToPath(new URL('udp-mirror.mjs', import.meta.url));
const MIRRORS = [SERVER, '7001', '7002'];
const STUN_PORT = 3478, HTTP_PORT = 8080, SECURE_PORT = 443;

export class Lab {
  // The server relays to `allow` on top of its defaults. The addresses of this lab are
  // documentation addresses, which a server refuses as peers unless told otherwise; to other
  // relayed addresses of its own it always relays. With `secure` it listens for TLS as well.
  static async open({ allow = [], secure = false } = {}) {
    const lab = new Lab();
    try {
      await lab.#build(allow, secure);
    } catch (error) {
      await lab.close();
      throw error;
    }
    return lab;
  }

  async #build(allow, secure) {
    const network = (this.network = new Network());
    const mirror = network.start('server', process.execPath, [MIRROR, 'serve', ...MIRRORS]);
    await once(mirror.stdout, 'data');
    const at = { address: SERVER, stunPort: STUN_PORT, httpPort: HTTP_PORT };
    if (secure) at.securePort = SECURE_PORT;
    this.server = await startServer({ ...at, network, allow });
    this.browsers = await Promise.all(['a', 'b'].map(side =>
      startBrowser({
        namespace: network.name(`host-${side}`),
        origin: this.server.url,
        believed: this.server.keyHash,
      })));
  }

  // Puts the same kind of NAT in front of both sides.
  nats(kind) {
    for (const side of ['a', 'b']) this.network.nat(side, kind);
  }

  // The public ports that two destinations see of one socket behind this side's NAT.
  portsSeen(side) {
    const said = this.network.run(`host-${side}`, process.execPath, [MIRROR, 'ask', ...MIRRORS]);
    return JSON.parse(said);
  }

  async close() {
    await Promise.all((this.browsers ?? []).map(browser => browser.close()));
    await this.server?.stop();
    this.network?.remove();
  }
}
