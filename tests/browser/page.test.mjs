// The page that hairpin serves, in two tabs on one machine without any NAT.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startBrowser } from './browser.mjs';
import { assertRelayed, close, join, meet, peerState, selectedPair } from './meeting.mjs';
import { freePort, startServer } from './server.mjs';

const SECOND = 1000;
let server, browser;
before(async () => {
  const [stunPort, httpPort] = [await freePort(), await freePort()];
  server = await startServer({ address: '127.0.0.1', stunPort, httpPort, allow: ['127.0.0.0/8'] });
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const tabs = options => meet([browser, browser], server, options);

test('two tabs with the same link meet, and each shows which pair it uses', async () => {
  const pages = await tabs({ room: 'link' });
  for (const page of pages) {
    await page.locator('#state[data-state="connected"]').waitFor();
    const { local, remote, protocol } = await selectedPair(page);
    const types = `[data-local-type="${local}"][data-remote-type="${remote}"]`;
    const shown = page.locator(`#peers ${types}[data-protocol="${protocol}"]`);
    await shown.waitFor({ state: 'attached', timeout: 10 * SECOND });
  }
  await close(pages);
});

test('a line typed into the chat appears in the other tab', async () => {
  const pages = await tabs({ room: 'chat' });
  const line = 'can you <b>read</b> this?';
  await pages[0].fill('#chat-input', line);
  await pages[0].click('#chat-send');
  await pages[1].locator('#chat-log', { hasText: line }).waitFor({ timeout: 10 * SECOND });
  await close(pages);
});

test('the page lists the candidates that it gathered, the relayed among them', async () => {
  const pages = await tabs({ room: 'candidates' });
  // A browser which has found a pair gathers no further; asked to test, it gathers all there are.
  await pages[0].click('#gather');
  for (const type of ['host', 'relay']) {
    await pages[0].locator('#candidates', { hasText: type }).waitFor({ timeout: 10 * SECOND });
  }
  await close(pages);
});

test('the switch "relay only" in the link gives a pair with the relay at both ends', async () => {
  const pages = await tabs({ room: 'switch', relayOnly: true });
  for (const page of pages) {
    assert.ok(await page.locator('#relay-only').isChecked());
    const pair = await selectedPair(page);
    assert.equal(pair.local, 'relay', JSON.stringify(pair));
  }
  await close(pages);
});

test('the switch "relay only" turned on by hand moves a running call to the relay', async () => {
  const pages = await tabs({ room: 'by-hand' });
  await pages[0].locator('#relay-only').check({ force: true });
  await pages[0].locator('#peers [data-local-type="relay"][data-state="connected"]')
    .waitFor({ state: 'attached', timeout: 30 * SECOND });
  assertRelayed([await selectedPair(pages[0])]);
  await close(pages);
});

test('a tab that is closed disappears from the other one', async () => {
  const [stays, leaves] = await tabs({ room: 'leaving' });
  await leaves.context().close();
  await stays.locator('#peers [data-peer-id]').waitFor({ state: 'detached', timeout: 30 * SECOND });
  await close([stays]);
});

test('a person who opens the page and clicks "Join" is in a room', async () => {
  const page = await (await browser.newContext()).newPage();
  await page.goto(server.url);
  assert.equal(await page.locator('#state').getAttribute('data-state'), 'idle');
  await page.locator('#media').uncheck();
  await page.fill('#room', 'clicked');
  await page.click('#join');
  await page.locator('#state[data-state="joined"]').waitFor({ timeout: 10 * SECOND });
  await close([page]);
});

test('who comes back under another id is known again, and whoever copies that is not', async () => {
  const pages = await Promise.all([0, 1].map(async () => {
    const page = await (await browser.newContext()).newPage();
    page.said = [];
    await page.addInitScript(() => {
      window.sockets = [];
      window.WebSocket = class extends WebSocket {
        constructor(...rest) {
          super(...rest);
          window.sockets.push(this);
          this.addEventListener('message', ({ data }) => {
            const frame = JSON.parse(data);
            if (frame.type === 'peer+') window.lastMeta = frame.meta;
          });
        }
      };
    });
    await page.goto(`${server.url}/#room=back&media=0&auto=1`);
    return page;
  }));
  const [leaves, stays] = pages;
  await Promise.all(pages.map(page => peerState(page, 'connected')));
  await Promise.all(pages.map(page => page.waitForFunction(() => {
    const [peer] = window.hairpin.peers.values();
    window.before = { pc: peer.pc, id: peer.id };
    return peer.theirKey.length > 0;
  })));
  await leaves.evaluate(() => window.sockets.at(-1).close());
  await stays.waitForFunction(() => {
    const [peer, ...others] = window.hairpin.peers.values();
    return others.length === 0 && peer.id !== window.before.id && !peer.away;
  });
  for (const page of pages) {
    const same = () => [...window.hairpin.peers.values()][0].pc === window.before.pc;
    assert.ok(await page.evaluate(same), 'the call went on');
  }

  const intruder = await (await browser.newContext()).newPage();
  await intruder.goto(server.url);
  const meta = await stays.evaluate(() => window.lastMeta);
  assert.ok(meta.back.length > 0);
  await intruder.evaluate(meta => new Promise(resolve => {
    const socket = window.intruding = new WebSocket(`ws://${location.host}/v1/signal`);
    const join = JSON.stringify({ type: 'join', room: 'back', meta });
    socket.onmessage = ({ data }) => {
      const { type } = JSON.parse(data);
      if (type === 'welcome') socket.send(join);
      if (type === 'joined') resolve();
    };
  }), meta);
  await stays.waitForFunction(() => window.hairpin.peers.size === 2);
  assert.ok(await stays.evaluate(() => [...window.hairpin.peers.values()]
    .some(peer => peer.pc === window.before.pc && !peer.away)));
  await close([...pages, intruder]);
});

test('a link alone turns on no camera and no microphone', async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.addInitScript(() => {
    window.asked = 0;
    const { getUserMedia } = MediaDevices.prototype;
    MediaDevices.prototype.getUserMedia = function (...wishes) {
      window.asked += 1;
      return getUserMedia.apply(this, wishes);
    };
  });
  for (const media of ['', '&media=1', '&media=00']) {
    await page.goto('about:blank');
    await page.goto(`${server.url}/#room=lured${media}&auto=1`);
    await page.waitForTimeout(500);
    assert.equal(await page.locator('#state').getAttribute('data-state'), 'idle', media);
    assert.equal(await page.evaluate(() => window.asked), 0, media);
    assert.equal(await page.evaluate(() => document.activeElement.id), 'join', media);
  }
  await page.click('#join');
  await page.locator('#state[data-state="joined"]').waitFor({ timeout: 10 * SECOND });
  assert.ok(await page.evaluate(() => window.asked) > 0);
  await close([page]);
});

test('the page asks no other host for anything and breaks no rule of its own policy', async () => {
  const context = await browser.newContext();
  const asked = new Set();
  context.on('request', request => asked.add(new URL(request.url())));
  const page = await context.newPage();
  page.on('websocket', socket => asked.add(new URL(socket.url())));
  const violations = [];
  await page.exposeFunction('reportViolation', text => violations.push(text));
  await page.addInitScript(() => document.addEventListener('securitypolicyviolation', event =>
    reportViolation(`${event.violatedDirective}: ${event.blockedURI}`)));
  page.on('console', message => message.type() === 'error' && violations.push(message.text()));
  page.on('pageerror', error => violations.push(String(error)));
  const answer = await page.goto(`${server.url}/#room=policy&media=1&auto=1`);
  await page.click('#join');
  const other = await join(browser, server, { room: 'policy', media: true });
  await Promise.all([page, other].map(one => peerState(one, 'connected')));

  const policy = answer.headers()['content-security-policy'] ?? '';
  assert.match(policy, /default-src 'none'|default-src 'self'/);
  assert.deepEqual(violations, []);
  const elsewhere = [...asked].filter(url => url.protocol !== 'data:' && url.protocol !== 'blob:')
    .filter(url => url.host !== new URL(server.url).host);
  assert.deepEqual(elsewhere.map(String), []);
  await close([page, other]);
});
