// Browsers that can reach nothing but one port: the page, signalling and the relay are all there.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Lab } from './lab.mjs';
import { close, meet, selectedPair, transfer, videoFrames } from './meeting.mjs';

const FIVE_MB = 5_000_000;
let lab;
before(async () => {
  lab = await Lab.open({ secure: true });
  lab.nats('only-443');
});
after(() => lab?.close());

const here = () => ({ url: lab.server.secureUrl });

test('the routers let nothing through but port 443', async () => {
  const [browser] = lab.browsers;
  const context = await browser.newContext();
  const closed = (await context.newPage()).goto(lab.server.url, { timeout: 3000 });
  await assert.rejects(closed, /Timeout|ERR_/);
  // In a tab of its own: the error page of the first comes when it likes.
  const answer = await (await context.newPage()).goto(lab.server.secureUrl);
  assert.equal(answer.status(), 200);
  await context.close();
  assert.throws(() => lab.portsSeen('a'), 'UDP gets through');
});

test('with all but port 443 dropped two browsers exchange 5 MB and video by it', async () => {
  const pages = await meet(lab.browsers, here(), { room: 'one port', media: true });
  for (const pair of await Promise.all(pages.map(selectedPair))) {
    assert.deepEqual([pair.local, pair.relayProtocol], ['relay', 'tls'], JSON.stringify(pair));
  }
  await transfer(pages[0], pages[1], FIVE_MB);
  await transfer(pages[1], pages[0], FIVE_MB);
  await Promise.all(pages.map(page => videoFrames(page, 30)));
  await close(pages);
});
