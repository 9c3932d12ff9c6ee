// Debian's Chromium, where the test wants it: in a namespace or on the machine itself.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { temporaryDirectory } from './temporary.mjs';

export const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';

const SWITCHES = [
  '--no-sandbox', // the tests run as root, for the namespaces
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  // Chromium's own talk with its maker's hosts has nowhere to go from a namespace.
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-proxy-server',
  // Host candidates with addresses instead of names that only multicast DNS can resolve.
  '--disable-features=WebRtcHideLocalIpsWithMdns',
  '--use-fake-device-for-media-stream',
  '--use-fake-ui-for-media-stream',
];

// `namespace`: the network namespace to run in; `origin`: a plain-http origin to which the browser
// is to grant camera and crypto all the same; `believed`: the hash of the key of a certificate that
// nobody has signed.
export async function startBrowser({ namespace, origin, believed } = {}) {
  let executablePath = CHROMIUM;
  if (namespace) {
    executablePath = join(temporaryDirectory('chromium'), 'chromium');
    const wrapper = `#!/bin/sh\nexec ip netns exec ${namespace} ${CHROMIUM} "$@"\n`;
    writeFileSync(executablePath, wrapper, { mode: 0o755 });
  }
  const args = [...SWITCHES];
  if (origin) args.push(`--unsafely-treat-insecure-origin-as-secure=${origin}`);
  if (believed) args.push(`--ignore-certificate-errors-spki-list=${believed}`);
  return chromium.launch({ executablePath, args, headless: true });
}
