// How a peer who comes back under another id is known again.
//
// Two peers who are connected give each other a key over their data channel, where nobody else
// hears it. Who comes back shows a proof for each key that it was given. A proof holds for one new
// id and one reader only; ids are the server's to give, so it is worth nothing to whoever repeats it.

// Browsers have what it takes on secure origins only. Elsewhere a call is begun anew.
export const canProve = Boolean(globalThis.crypto?.subtle);

const PROOF = 12; // characters of base64, which are 72 bits
const MOST = 60; // what others are told about us has little room

export function newKey() {
  return base64(crypto.getRandomValues(new Uint8Array(18)));
}

export function isKey(text) {
  return typeof text === 'string' && /^[A-Za-z0-9+/]{24}$/.test(text);
}

// What to show under the id `self` to peers who know us from before; empty if none does.
export async function proofs(peers, self) {
  if (!canProve) return '';
  const known = [...peers].filter((peer) => isKey(peer.theirKey)).slice(0, MOST);
  const all = await Promise.all(known.map((peer) => proof(peer.theirKey, self, peer.id)));
  return all.join('');
}

// Which of these peers stands behind the new id and what it shows; undefined if none.
export async function whoReturned(peers, id, shown) {
  if (!canProve || typeof shown !== 'string') return undefined;
  for (const peer of peers) {
    if (!isKey(peer.ourKey) || !peer.knownAs) continue;
    const wanted = await proof(peer.ourKey, id, peer.knownAs);
    for (let at = 0; at < shown.length; at += PROOF) {
      if (shown.slice(at, at + PROOF) === wanted) return peer;
    }
  }
  return undefined;
}

async function proof(key, id, reader) {
  const bytes = (text) => new TextEncoder().encode(text);
  const algorithm = { name: 'HMAC', hash: 'SHA-256' };
  const imported = await crypto.subtle.importKey('raw', bytes(key), algorithm, false, ['sign']);
  const whole = await crypto.subtle.sign('HMAC', imported, bytes(`${id} ${reader}`));
  return base64(new Uint8Array(whole, 0, 9));
}

function base64(bytes) {
  return btoa(String.fromCharCode(...bytes));
}
