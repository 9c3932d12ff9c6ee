// The page: it joins a room, shows who is there, and says how each connection came about.
//
// Everything that others send is text: it goes in by textContent and nothing else.

import { Peer, selectedPair } from './peer.js';
import { canProve, isKey, proofs, whoReturned } from './returning.js';
import { Signal } from './signal.js';

const $ = (id) => document.getElementById(id);
const flags = new URLSearchParams(location.hash.slice(1));

const peers = new Map(); // id → Peer
const hairpin = window.hairpin = { peers, self: null };
let signal = null;
let room = '';
let stream = null;
let ice = { iceServers: [] };
let iceTimer = 0;

// ---- joining and leaving ------------------------------------------------------------------------

$('room').value = flags.get('room') || randomText(12).replace(/(.{4})(?=.)/g, '$1-');
$('relay-only').checked = flags.get('relay') === '1';
$('media').checked = flags.get('media') !== '0';

$('lobby').addEventListener('submit', (event) => {
  event.preventDefault();
  join();
});
$('leave').addEventListener('click', leave);
$('copy-link').addEventListener('click', copyLink);
$('relay-only').addEventListener('change', () => {
  for (const peer of peers.values()) peer.rebuild();
  showPeers();
});
window.addEventListener('hashchange', () => {
  const wanted = new URLSearchParams(location.hash.slice(1)).get('room');
  if (!signal && wanted) $('room').value = wanted;
});
// A link may bring somebody into a room, but camera and microphone are turned on by a click only:
// whoever sends the link is not whom they belong to.
if (flags.get('auto') === '1') {
  if ($('media').checked) $('join').focus();
  else join();
}

async function join() {
  if (signal) return;
  room = $('room').value.trim();
  if (!room) return;
  hint('');
  showState('joining', 'joining');
  showJoined(true);
  flags.set('room', room);
  history.replaceState(null, '', `#${flags}`);

  const joining = signal = new Signal(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/v1/signal`);
  if ($('media').checked) await openMedia();
  if (signal !== joining) return closeMedia(); // left while the browser was asking
  if (!await refreshIce()) return;
  if (signal !== joining) return;

  // Who comes back has to be recognised first, which takes a moment, and what follows must wait.
  let turn = Promise.resolve();
  const on = (type, handle) => signal.addEventListener(type, ({ detail }) => {
    turn = turn.then(() => signal === joining && handle(detail)).catch((error) => {
      console.warn(`could not deal with "${type}"`, error);
    });
  });

  let admitted = false;
  let welcomed = ''; // our id as long as the socket is there
  signal.addEventListener('welcome', ({ detail }) => { welcomed = detail.peer; });
  signal.addEventListener('lost', () => { welcomed = ''; });
  on('welcome', async ({ peer, iceServers }) => {
    if (ice.iceServers.length === 0) ice = { iceServers };
    const back = await proofs(peers.values(), peer);
    if (signal !== joining || welcomed !== peer) return;
    hairpin.self = peer;
    signal.send({ type: 'join', room, meta: { name: myName(), ...(back && { back }) } });
  });
  on('joined', ({ peers: present }) => {
    admitted = true;
    return meet(present);
  });
  on('peer+', (one) => appear(one, true));
  on('peer-', ({ id, reason }) => peerWent(id, reason));
  on('signal', ({ from, data }) => peers.get(from)?.receive(data));
  on('error', ({ code, message, to }) => {
    // Someone may leave while a frame to them is under way; that is no news.
    if (code === 'no-such-peer') return;
    if (code === 'peer-busy') {
      peers.get(to)?.retry();
      return;
    }
    hint(`The relay says: ${message}.`);
    if (!admitted) fail(message);
  });
  on('lost', () => {
    hint('The signalling connection broke; calls go on, and it is being restored.');
    for (const peer of peers.values()) peer.away = true;
  });
  signal.addEventListener('ended', ({ detail }) => fail(detail.reason || `closed with code ${detail.code}`));
  signal.open();
}

function leave() {
  signal?.send({ type: 'leave', room });
  signal?.close();
  signal = null;
  clearTimeout(iceTimer);
  for (const peer of [...peers.values()]) forget(peer);
  closeMedia();
  hairpin.self = null;
  hint('');
  showJoined(false);
  showState('idle', 'not in a room');
}

function fail(why) {
  leave();
  hint(`This did not work: ${why}.`);
  showState('failed', 'failed');
}

// Credentials are fetched again before they expire; connections take them for their next restart.
async function refreshIce() {
  clearTimeout(iceTimer);
  let again = 30;
  try {
    const response = await fetch('ice', { cache: 'no-store' });
    const answer = await response.json();
    if (response.ok) {
      ice = answer;
      again = Math.min(answer.ttl * 0.8, 86_400);
      for (const peer of peers.values()) peer.pc.setConfiguration(rtcConfig());
    } else if (response.status === 403) {
      fail(answer.message);
      return false;
    } else {
      // Without a relay most calls still come about; the socket's welcome has what there is.
      hint(`No relay: ${answer.message}.`);
      again = 300;
    }
  } catch {
    if (peers.size === 0) hint('The server does not answer; trying again.');
  }
  if (signal) iceTimer = setTimeout(refreshIce, again * 1000);
  return true;
}

function rtcConfig() {
  const iceTransportPolicy = $('relay-only').checked ? 'relay' : 'all';
  return { iceServers: ice.iceServers, iceTransportPolicy };
}

// ---- peers --------------------------------------------------------------------------------------

// Everybody who was here before us. After a break some of them are in a call with us already.
async function meet(present) {
  const mine = signal;
  hint($('hint').dataset.media ?? '');
  const known = [...peers.values()];
  for (const one of present) {
    await appear(one, false);
    if (signal !== mine) return;
  }
  // Of the others only those are left who still talk to us and whom we would know again.
  for (const peer of known) {
    const mayReturn = canProve && isKey(peer.theirKey);
    if (peer.away && !(mayReturn && peer.pc.connectionState === 'connected')) forget(peer);
  }
  showPeers();
}

// Somebody is there: under an id that we know, back under a new one, or for the first time. `begins`:
// we were here first, so the first offer is ours.
async function appear(one, begins) {
  const mine = signal;
  const away = [...peers.values()].filter((peer) => peer.away);
  const known = peers.get(one.id) ?? await whoReturned(away, one.id, one.meta?.back);
  if (signal !== mine) return;
  if (known) recognise(known, one.id, !one.polite);
  else peerCame(one, begins);
}

function peerCame({ id, meta, polite }, begins) {
  const name = typeof meta?.name === 'string' ? meta.name.slice(0, 40) : '';
  const peer = new Peer(id, !polite, hairpin.self, {
    config: rtcConfig,
    stream: () => stream,
    send: (to, data) => signal?.send({ type: 'signal', to: to.id, data }),
  });
  peer.name = name;
  peer.tile = $('tile').content.firstElementChild.cloneNode(true);
  peer.row = document.createElement('tr');
  peer.tile.querySelector('.sound').addEventListener('click', (event) => {
    peer.tile.querySelector('video').muted = false;
    event.target.hidden = true;
  });
  peers.set(id, peer);
  $('peers').append(peer.tile);
  $('pair-rows').append(peer.row);
  peer.addEventListener('state', () => {
    if (peer.away && !['connected', 'connecting', 'disconnected'].includes(peer.pc.connectionState)) forget(peer);
    showPeers();
    showPair(peer);
  });
  peer.addEventListener('track', ({ detail }) => showTrack(peer, detail));
  peer.addEventListener('candidate', ({ detail }) => showCandidate(detail));
  peer.addEventListener('candidate-error', ({ detail }) => showCandidateError(detail));
  peer.addEventListener('chat-open', () => {
    // Once, however often the connection is rebuilt.
    if (!peer.met) chatNotice(`${label(peer)} is connected`);
    peer.met = true;
  });
  peer.addEventListener('chat', ({ detail }) => chatReceived(peer, detail));
  if (begins) peer.start();
  else peer.expect();
  showPeers();
}

// The same person under a new id: the call goes on, or is begun anew if it was not well.
function recognise(peer, id, polite) {
  peers.delete(peer.id);
  Object.assign(peer, { id, polite, knownAs: hairpin.self, away: false });
  peers.set(id, peer);
  if (!peer.isWell && !polite) peer.rebuild();
  showPeers();
}

function peerWent(id, reason) {
  const peer = peers.get(id);
  if (!peer) return;
  // Who left has hung up. Who lost the server may still be talking to us.
  peer.away = true;
  if (reason === 'left' || peer.pc.connectionState !== 'connected') forget(peer);
}

function forget(peer) {
  peer.close();
  peers.delete(peer.id);
  peer.tile.remove();
  peer.row.remove();
  if (peer.met) chatNotice(`${label(peer)} is gone`);
  showPeers();
}

function label(peer) {
  return peer.name || `guest ${peer.id.slice(0, 4)}`;
}

// ---- camera and microphone ----------------------------------------------------------------------

async function openMedia() {
  const media = navigator.mediaDevices;
  if (!media?.getUserMedia) {
    return mediaHint('No camera or microphone: browsers give them to pages opened over https or on localhost only. You can still watch, listen and write.');
  }
  const wishes = [{ audio: true, video: true }, { audio: true }, { video: true }];
  for (const wish of wishes) {
    try {
      stream = await media.getUserMedia(wish);
      break;
    } catch (error) {
      const why = {
        NotAllowedError: 'the browser or you refused it',
        NotFoundError: 'none was found',
        NotReadableError: 'another program is using it',
      }[error.name] ?? error.message;
      mediaHint(`No camera or microphone: ${why}. You can still watch, listen and write.`);
      if (error.name === 'NotAllowedError') break;
    }
  }
  if (!stream) return;
  mediaHint(stream.getTracks().length === 2 ? '' : `Only your ${stream.getTracks()[0].kind === 'audio' ? 'microphone' : 'camera'} could be opened.`);
  $('self-video').srcObject = stream;
  $('self').classList.toggle('with-video', stream.getVideoTracks().length > 0);
  $('mute').disabled = stream.getAudioTracks().length === 0;
  $('camera').disabled = stream.getVideoTracks().length === 0;
}

function closeMedia() {
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
  $('self-video').srcObject = null;
  $('self').classList.remove('with-video');
  for (const button of [$('mute'), $('camera')]) {
    button.disabled = true;
    button.setAttribute('aria-pressed', 'false');
  }
}

function toggle(button, tracks) {
  const off = button.getAttribute('aria-pressed') !== 'true';
  button.setAttribute('aria-pressed', String(off));
  for (const track of tracks) track.enabled = !off;
  return off;
}
$('mute').addEventListener('click', () => toggle($('mute'), stream?.getAudioTracks() ?? []));
$('camera').addEventListener('click', () => {
  const off = toggle($('camera'), stream?.getVideoTracks() ?? []);
  $('self').classList.toggle('with-video', !off);
});

function showTrack(peer, { track, stream: theirs }) {
  const video = peer.tile.querySelector('video');
  video.srcObject = theirs ?? new MediaStream([...(video.srcObject?.getTracks() ?? []), track]);
  // What is decoded counts: a track's own `muted` stays true in Chromium after a rolled-back offer.
  video.onresize = video.onloadeddata = video.onemptied = () => showVideo(peer);
  track.onended = () => showVideo(peer);
  // Without a click on this page browsers refuse to start with sound.
  video.play().catch((error) => {
    if (error.name !== 'NotAllowedError') return;
    video.muted = true;
    peer.tile.querySelector('.sound').hidden = false;
    video.play().catch(() => {});
  });
}

function showVideo({ tile }) {
  const video = tile.querySelector('video');
  const live = video.srcObject?.getVideoTracks().some((track) => track.readyState === 'live');
  tile.classList.toggle('with-video', Boolean(live) && video.videoWidth > 0);
}

// ---- chat ---------------------------------------------------------------------------------------

$('chat-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = $('chat-input').value.trim();
  if (!text) return;
  const listeners = [...peers.values()].filter((peer) => peer.chat?.readyState === 'open');
  for (const peer of listeners) peer.chat.send(JSON.stringify({ name: myName(), text }));
  chatLine(myName() || 'you', text);
  if (listeners.length === 0) chatNotice('nobody is connected to read this');
  $('chat-input').value = '';
});

function chatReceived(peer, data) {
  let message;
  try {
    message = JSON.parse(data);
  } catch {
    return;
  }
  if (isKey(message?.key)) peer.theirKey = message.key;
  if (typeof message?.name === 'string' && message.name) peer.name = message.name.slice(0, 40);
  if (typeof message?.text !== 'string') return;
  chatLine(label(peer), message.text.slice(0, 2000));
  showPeers();
}

function chatLine(who, text) {
  const name = document.createElement('b');
  name.textContent = who;
  const said = document.createElement('span');
  said.textContent = text;
  chatAppend([name, said]);
}

function chatNotice(text) {
  chatAppend([text], 'notice');
}

function chatAppend(parts, kind) {
  const item = document.createElement('li');
  if (kind) item.className = kind;
  item.append(...parts);
  const log = $('chat-log');
  log.append(item);
  while (log.childElementCount > 500) log.firstElementChild.remove();
  log.scrollTop = log.scrollHeight;
}

// ---- candidates and pairs -----------------------------------------------------------------------

// Gathers without a peer, to see what there is.
$('gather').addEventListener('click', async () => {
  $('gather').disabled = true;
  $('candidates').replaceChildren();
  $('candidate-errors').replaceChildren();
  if (!signal) await refreshIce();
  const pc = new RTCPeerConnection(rtcConfig());
  pc.createDataChannel('gather');
  const done = new Promise((resolve) => {
    pc.onicegatheringstatechange = () => pc.iceGatheringState === 'complete' && resolve();
    setTimeout(resolve, 10_000);
  });
  pc.onicecandidate = ({ candidate }) => candidate?.candidate && showCandidate(candidate);
  pc.onicecandidateerror = showCandidateError;
  await pc.setLocalDescription();
  await done;
  pc.close(); // and with it what was allocated on the relay
  $('gather').disabled = false;
  if ($('candidates').childElementCount === 0) showError('none', 'No candidate was gathered.');
});

function showCandidate({ type, protocol, address, port, relayProtocol, url }) {
  const list = $('candidates');
  const key = [type, protocol, address].join(' ');
  // Not every browser says how it reached the relay, but the URL of the server does.
  const over = relayProtocol ?? (type === 'relay' ? /transport=(\w+)/.exec(url)?.[1] : null);
  let item = [...list.children].find((item) => item.dataset.key === key);
  if (!item) {
    item = document.createElement('li');
    Object.assign(item.dataset, { key, type, protocol, address: address ?? '' });
    const where = document.createElement('span');
    where.className = 'address';
    const how = document.createElement('span');
    how.className = 'muted';
    how.textContent = over ? `${protocol}, relay over ${over}` : protocol;
    item.append(typeBadge(type), where, how);
    const rank = ['host', 'srflx', 'prflx', 'relay'];
    const after = [...list.children].find((other) => rank.indexOf(other.dataset.type) > rank.indexOf(type));
    list.insertBefore(item, after ?? null);
  }
  // Each connection has ports of its own; the last one stands for all.
  item.querySelector('.address').textContent = `${address ?? '(hidden)'}:${port}`;
  item.title = url ?? '';
}

function showCandidateError({ errorCode, errorText, url }) {
  showError(`${errorCode} ${url}`, `${errorCode} ${errorText || 'no answer'} (${url})`);
}

function showError(key, text) {
  const list = $('candidate-errors');
  if ([...list.children].some((item) => item.dataset.key === key) || list.childElementCount >= 8) return;
  const item = document.createElement('li');
  item.dataset.key = key;
  item.textContent = text;
  list.append(item);
}

function typeBadge(type) {
  const badge = document.createElement('span');
  badge.className = 'type';
  badge.dataset.type = type;
  badge.textContent = type;
  return badge;
}

setInterval(() => {
  for (const peer of peers.values()) showPair(peer);
}, 1000);

async function showPair(peer) {
  const { pc } = peer;
  const pair = pc.connectionState === 'connected' ? await selectedPair(pc).catch(() => null) : null;
  if (pc !== peer.pc) return;
  const { dataset } = peer.tile;
  dataset.localType = pair?.localType ?? '';
  dataset.remoteType = pair?.remoteType ?? '';
  dataset.protocol = pair?.protocol ?? '';
  dataset.relayProtocol = pair?.relayProtocol ?? '';

  const rtt = pair?.rttMs == null ? '' : `${pair.rttMs < 10 ? pair.rttMs.toFixed(1) : Math.round(pair.rttMs)} ms`;
  peer.tile.querySelector('.pair').textContent = pair ? `${pair.localType} ↔ ${pair.remoteType}  ${rtt}` : '';
  const over = pair && (pair.relayProtocol ? `${pair.protocol}, relay over ${pair.relayProtocol}` : pair.protocol);
  const cells = [
    label(peer),
    peer.away ? `${pc.connectionState}, without signalling` : pc.connectionState,
    pair ? typeBadge(pair.localType) : '–',
    pair ? typeBadge(pair.remoteType) : '–',
    over ?? '–',
    rtt || '–',
    pair ? size(pair.bytesSent) : '–',
    pair ? size(pair.bytesReceived) : '–',
  ];
  peer.row.replaceChildren(...cells.map((content) => {
    const cell = document.createElement('td');
    cell.append(content);
    return cell;
  }));
}

function size(bytes) {
  const units = ['B', 'kB', 'MB', 'GB'];
  let unit = 0;
  while (bytes >= 1000 && unit < units.length - 1) {
    bytes /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? bytes : bytes.toFixed(1)} ${units[unit]}`;
}

// ---- what is shown of it ------------------------------------------------------------------------

function showPeers() {
  for (const peer of peers.values()) {
    peer.tile.dataset.peerId = peer.id;
    peer.tile.dataset.state = peer.pc.connectionState;
    peer.tile.querySelector('strong').textContent = label(peer);
    peer.tile.querySelector('.initial').textContent = (peer.name || peer.id).slice(0, 1);
  }
  $('alone').hidden = peers.size > 0;
  $('pairs').hidden = peers.size === 0;
  if (!signal || !hairpin.self) return;

  const states = [...peers.values()].map((peer) => peer.pc.connectionState);
  const connected = states.filter((state) => state === 'connected').length;
  if (states.length === 0) showState('joined', 'in the room, alone so far');
  else if (connected > 0) showState('connected', `connected to ${connected} of ${states.length}`);
  else if (states.every((state) => state === 'failed')) showState('failed', 'no connection came about');
  else showState('connecting', 'connecting');
}

function showState(state, text) {
  const element = $('state');
  element.dataset.state = state;
  if (element.textContent !== text) element.textContent = text;
}

function showJoined(joined) {
  $('join').hidden = joined;
  $('leave').hidden = !joined;
  for (const id of ['room', 'name', 'media']) $(id).disabled = joined;
}

function hint(text) {
  $('hint').textContent = text;
  $('hint').hidden = !text;
}

function mediaHint(text) {
  $('hint').dataset.media = text;
  hint(text);
}

function myName() {
  return $('name').value.trim();
}

$('name').addEventListener('input', () => {
  document.querySelector('#self .initial').textContent = myName().slice(0, 1) || 'Y';
});

// The room is behind the hash, which browsers keep to themselves: no log gets to see it.
function link() {
  const hash = new URLSearchParams({ room: $('room').value.trim() });
  return `${location.origin}${location.pathname}#${hash}`;
}

async function copyLink() {
  const button = $('copy-link');
  try {
    await navigator.clipboard.writeText(link());
    button.textContent = 'Copied';
    setTimeout(() => { button.textContent = 'Copy link'; }, 1500);
  } catch {
    // Not on insecure origins; then the address bar is where to copy it from.
    history.replaceState(null, '', link());
    hint(`Copy the link from here: ${link()}`);
  }
}

function randomText(length) {
  const alphabet = 'abcdefghijkmnpqrstuvwxyz23456789';
  const bytes = crypto.getRandomValues(new Uint8Array(length));
  return Array.from(bytes, (byte) => alphabet[byte % 32]).join('');
}
