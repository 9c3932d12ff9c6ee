// What a person does on the page, and what a test wants to know about it afterwards.
import assert from 'node:assert/strict';

const CONNECTED = 30_000; // ms; ICE over a relay takes one to three seconds here

// Opens the page in a context of its own and joins a room: by link, and with media by a click.
export async function join(browser, server, options) {
  const { room, relayOnly = false, media = false, stunOnly = false } = options;
  const context = await browser.newContext();
  const page = await context.newPage();
  page.said = [];
  page.on('console', message => page.said.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', error => page.said.push(`uncaught: ${error}`));
  if (stunOnly) await page.addInitScript(withoutRelay);
  const link = { room, relay: Number(relayOnly), media: Number(media), auto: 1 };
  await page.goto(`${server.url}/#${new URLSearchParams(link)}`);
  if (await page.locator('#state').getAttribute('data-state') === 'idle') await page.click('#join');
  return page;
}

// In the page, before its own scripts: connections are made without the TURN servers that the page
// asks for.
function withoutRelay() {
  window.RTCPeerConnection = new Proxy(window.RTCPeerConnection, {
    construct(target, [configuration = {}, ...rest]) {
      const iceServers = (configuration.iceServers ?? [])
        .map(one => ({ ...one, urls: [one.urls].flat().filter(url => url.startsWith('stun:')) }))
        .filter(one => one.urls.length > 0);
      if (iceServers.length === 0) console.error('the page was given no STUN server');
      return new target({ ...configuration, iceServers }, ...rest);
    },
  });
}

// Opens the page on both sides, waits until both show the other as connected, and returns the two
// pages.
export async function meet(browsers, server, options) {
  const pages = await Promise.all(browsers.map(browser => join(browser, server, options)));
  await Promise.all(pages.map(page => peerState(page, 'connected')));
  return pages;
}

// Waits until the page shows its one peer in this state.
export async function peerState(page, state, timeout = CONNECTED) {
  try {
    const peer = page.locator(`#peers [data-peer-id][data-state="${state}"]`).first();
    await peer.waitFor({ state: 'attached', timeout });
  } catch {
    const shown = await page.locator('#state, #peers')
      .evaluateAll(all => all.map(one => one.outerHTML).join('\n'));
    throw new Error(`not ${state} within ${timeout} ms:\n${shown}\n${page.said.join('\n')}`);
  }
}

// Waits until ICE has given up on this page. That it tried is part of it: a page which never began
// proves nothing.
export async function neverConnected(page) {
  const states = await within(60_000, 'the end of ICE', page.evaluate(async () => {
    const seen = new Set();
    while (!seen.has('failed') && !seen.has('connected')) {
      for (const { pc } of window.hairpin.peers.values()) seen.add(pc.connectionState);
      await new Promise(requestAnimationFrame);
    }
    return [...seen];
  }));
  assert.ok(states.includes('connecting'), `states seen: ${states}`);
  assert.ok(!states.includes('connected'), `states seen: ${states}`);
}

export const close = pages => Promise.all(pages.map(page => page.context().close()));

// The selected candidate pair as the browser's statistics tell it: types, protocol, and how the
// relay is reached.
export function selectedPair(page) {
  return page.evaluate(async () => {
    const [{ pc }] = window.hairpin.peers.values();
    const stats = await pc.getStats();
    const { selectedCandidatePairId } = [...stats.values()].find(one => one.type === 'transport');
    const pair = stats.get(selectedCandidatePairId);
    const local = stats.get(pair.localCandidateId), remote = stats.get(pair.remoteCandidateId);
    return {
      local: local.candidateType,
      remote: remote.candidateType,
      protocol: local.protocol,
      relayProtocol: local.relayProtocol,
    };
  });
}

// A pair that neither side could have without the relay.
export function assertRelayed(pairs) {
  const ends = pairs.flatMap(pair => [pair.local, pair.remote]);
  assert.ok(ends.includes('relay'), `the selected pairs use no relay: ${JSON.stringify(pairs)}`);
}

// Sends `size` random bytes over a data channel of its own; both ends must come to the same
// SHA-256.
export function transfer(from, to, size) {
  return within(60_000, `a transfer of ${size} bytes`, sendAndCompare(from, to, size));
}

async function sendAndCompare(from, to, size) {
  await to.evaluate(size => {
    window.received = new Promise(resolve => {
      addEventListener('hairpin-datachannel', ({ detail: { channel } }) => {
        const bytes = new Uint8Array(size);
        let length = 0;
        channel.binaryType = 'arraybuffer';
        channel.onmessage = async ({ data }) => {
          bytes.set(new Uint8Array(data), length);
          length += data.byteLength;
          if (length !== size) return;
          const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
          resolve([...digest].map(byte => byte.toString(16).padStart(2, '0')).join(''));
        };
      }, { once: true });
    });
  }, size);
  const sent = await from.evaluate(async size => {
    const bytes = new Uint8Array(size);
    for (let at = 0; at < size; at += 65536) crypto.getRandomValues(bytes.subarray(at, at + 65536));
    const [{ pc }] = window.hairpin.peers.values();
    const channel = pc.createDataChannel('transfer');
    channel.bufferedAmountLowThreshold = 256 * 1024;
    await new Promise(resolve => (channel.onopen = resolve));
    for (let at = 0; at < size; at += 16384) {
      if (channel.bufferedAmount > 1024 * 1024) {
        await new Promise(resolve => (channel.onbufferedamountlow = resolve));
      }
      channel.send(bytes.subarray(at, at + 16384));
    }
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
    return [...digest].map(byte => byte.toString(16).padStart(2, '0')).join('');
  }, size);
  const received = await to.evaluate(() => window.received);
  assert.equal(received, sent, 'SHA-256 of what was sent and of what arrived');
}

// Types a line into the chat of one page until it stands in the other's; for calls that are being
// restored, where the first lines may be lost.
export async function lineArrives(from, to, line, patience = 90_000) {
  const deadline = Date.now() + patience;
  while (await to.locator('#chat-log', { hasText: line }).count() === 0) {
    if (Date.now() > deadline) throw new Error(`no line of chat arrives within ${patience} ms`);
    await from.fill('#chat-input', line);
    await from.click('#chat-send');
    await to.locator('#chat-log', { hasText: line }).waitFor({ timeout: 1000 }).catch(() => {});
  }
}

// Waits until this page has decoded so many frames of its peer's camera.
export async function videoFrames(page, wanted) {
  await page.waitForFunction(async wanted => {
    for (const { pc } of window.hairpin.peers.values()) {
      for (const one of (await pc.getStats()).values()) {
        const isVideo = one.type === 'inbound-rtp' && one.kind === 'video';
        if (isVideo && one.framesDecoded >= wanted) return true;
      }
    }
    return false;
  }, wanted, { timeout: CONNECTED, polling: 250 });
}

// `promise`, but an error that names what was awaited once `ms` have passed.
export function within(ms, what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
