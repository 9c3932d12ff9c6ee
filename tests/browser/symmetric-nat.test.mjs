// Two browsers which cannot reach each other by any direct way.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Lab } from './lab.mjs';
import {
  assertRelayed, close, lineArrives, meet, selectedPair, transfer, videoFrames,
} from './meeting.mjs';

const FIVE_MB = 5_000_000;
let lab;
before(async () => { lab = await Lab.open({ allow: ['203.0.113.0/24'] }); });
after(() => lab?.close());

test('the symmetric NAT shows another port to each destination', () => {
  lab.nats('symmetric');
  for (const side of ['a', 'b']) {
    const [one, other] = lab.portsSeen(side);
    assert.notEqual(one, other, `side ${side}`);
  }
});

test('behind symmetric NATs two browsers exchange 5 MB and video through the relay', async () => {
  lab.nats('symmetric');
  const pages = await meet(lab.browsers, lab.server, { room: 'symmetric', media: true });
  assertRelayed(await Promise.all(pages.map(selectedPair)));
  await transfer(pages[0], pages[1], FIVE_MB);
  await transfer(pages[1], pages[0], FIVE_MB);
  await Promise.all(pages.map(page => videoFrames(page, 30)));
  await close(pages);
});

test('the policy "relay" gives a pair with the relay at both ends', async () => {
  lab.nats('symmetric');
  const pages = await meet(lab.browsers, lab.server, { room: 'relay-only', relayOnly: true });
  for (const pair of await Promise.all(pages.map(selectedPair))) {
    assert.equal(pair.local, 'relay', JSON.stringify(pair));
  }
  await transfer(...pages, FIVE_MB);
  await close(pages);
});

test('with UDP dropped two browsers exchange 5 MB and video over TCP to the relay', async () => {
  lab.nats('symmetric no-udp');
  const pages = await meet(lab.browsers, lab.server, { room: 'no-udp', media: true });
  for (const pair of await Promise.all(pages.map(selectedPair))) {
    assert.deepEqual([pair.local, pair.relayProtocol], ['relay', 'tcp'], JSON.stringify(pair));
  }
  await transfer(...pages, FIVE_MB);
  await Promise.all(pages.map(page => videoFrames(page, 30)));
  await close(pages);
});

test('a call survives by an ICE restart that both NATs forgot its UDP', async () => {
  lab.nats('symmetric');
  const pages = await meet(lab.browsers, lab.server, { room: 'forgotten' });
  await transfer(...pages, 100_000);
  // From here on the relay sees both clients at ports that it never heard of.
  for (const side of ['a', 'b']) lab.network.forget(side, 'udp');
  await pages[0].evaluate(() => {
    const [{ pc }] = window.hairpin.peers.values();
    pc.restartIce();
  });
  await transfer(...pages, 100_000);
  await close(pages);
});

test('a call comes back by itself after both routers were switched off and on', async () => {
  lab.nats('symmetric');
  const pages = await meet(lab.browsers, lab.server, { room: 'restarted' });
  // Signalling is gone as well, and neither end has been told.
  for (const side of ['a', 'b']) lab.network.forget(side);
  await lineArrives(...pages, 'do you hear me again?');
  await close(pages);
});

test('1 MB arrives whole through NATs that lose a packet in twenty', async () => {
  lab.nats('symmetric lossy');
  const pages = await meet(lab.browsers, lab.server, { room: 'lossy' });
  await transfer(...pages, 1_000_000);
  await close(pages);
});
