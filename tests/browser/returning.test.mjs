// How the page knows a peer again, without a browser.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { webcrypto } from 'node:crypto';
import { test } from 'node:test';

globalThis.crypto ??= webcrypto;
const source = readFileSync(new URL('../../src/control/page/returning.js', import.meta.url), 'utf8');
const { isKey, newKey, proofs, whoReturned } =
  await import(`data:text/javascript,${encodeURIComponent(source)}`);

// What Victor and Alice keep of each other: the key that each gave, and the ids of that time.
const given = newKey();
const aliceAtVictor = { ourKey: given, knownAs: 'victor-1' };
const victorAtAlice = { theirKey: given, id: 'victor-1' };
const other = { ourKey: newKey(), knownAs: 'victor-1' };

test('who was given the key is known again under another id', async () => {
  const shown = await proofs([{ theirKey: newKey(), id: 'bob-1' }, victorAtAlice], 'alice-2');
  assert.equal(await whoReturned([other, aliceAtVictor], 'alice-2', shown), aliceAtVictor);
});

test('whoever repeats the proof under an id of their own is nobody', async () => {
  const shown = await proofs([victorAtAlice], 'alice-2');
  assert.equal(await whoReturned([aliceAtVictor], 'mallory-1', shown), undefined);
});

test('a key that is passed on to be shown to somebody else proves nothing to them', async () => {
  // Mallory gives Alice, as a key of her own, the one that Victor gave to Mallory.
  const malloryAtVictor = { ourKey: newKey(), knownAs: 'victor-1' };
  const malloryAtAlice = { theirKey: malloryAtVictor.ourKey, id: 'mallory-1' };
  const shown = await proofs([malloryAtAlice], 'alice-2');
  assert.equal(await whoReturned([malloryAtVictor], 'alice-2', shown), undefined);
});

test('who shows nothing is nobody, also to those who were given nothing', async () => {
  const empty = { ourKey: undefined, knownAs: undefined };
  for (const shown of [undefined, null, '', 7, {}, ['x'], 'undefined', 'x'.repeat(1000)]) {
    assert.equal(await whoReturned([empty, aliceAtVictor], 'alice-2', shown), undefined);
  }
  assert.equal(await proofs([{ theirKey: undefined, id: 'a' }, { theirKey: '', id: 'b' }], 'c'), '');
});

test('keys differ, and a hundred peers make no more proofs than meta has room for', async () => {
  assert.ok(isKey(newKey()) && newKey() !== newKey());
  const many = Array.from({ length: 100 }, (_, n) => ({ theirKey: newKey(), id: `peer-${n}` }));
  assert.ok((await proofs(many, 'alice-2')).length <= 800);
});
