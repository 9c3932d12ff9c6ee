// What the laboratory must show so that the other results mean something: where a direct path
// exists it is found, where none exists only the relay helps. The server here has its default deny
// list, which forbids the routers' addresses.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Lab } from './lab.mjs';
import { close, join, meet, neverConnected, selectedPair, transfer } from './meeting.mjs';

let lab;
before(async () => { lab = await Lab.open(); });
after(() => lab?.close());

test('the cone NAT shows the same port to each destination', () => {
  lab.nats('cone');
  for (const side of ['a', 'b']) {
    const [one, other] = lab.portsSeen(side);
    assert.equal(one, other, `side ${side}`);
  }
});

test('behind cone NATs two browsers meet directly, without any relay', async () => {
  lab.nats('cone');
  const pages = await meet(lab.browsers, lab.server, { room: 'direct', stunOnly: true });
  for (const { local, remote } of await Promise.all(pages.map(selectedPair))) {
    assert.ok(local !== 'relay' && remote !== 'relay', `${local} - ${remote}`);
  }
  await transfer(...pages, 100_000);
  await close(pages);
});

test('behind symmetric NATs two browsers without a relay do not meet', async () => {
  lab.nats('symmetric');
  const options = { room: 'hopeless', stunOnly: true };
  const pages = await Promise.all(lab.browsers.map(browser => join(browser, lab.server, options)));
  await Promise.all(pages.map(page => neverConnected(page)));
  await close(pages);
});

test('two browsers whose routers are forbidden as peers meet from relay to relay', async () => {
  lab.nats('symmetric');
  const pages = await meet(lab.browsers, lab.server, { room: 'denied' });
  for (const pair of await Promise.all(pages.map(selectedPair))) {
    assert.equal(pair.local, 'relay', JSON.stringify(pair));
  }
  await transfer(...pages, 1_000_000);
  await close(pages);
});
