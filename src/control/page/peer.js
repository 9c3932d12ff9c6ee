// One peer: its RTCPeerConnection by "perfect negotiation" (either side may offer at any time; if
// both do, the polite one gives way), rebuilt when asked to.
//
// The peer who was in the room first begins; the other answers, with its media in the same answer.
// Each connection between two peers has a number. Who rebuilds counts up, and a higher number
// makes the other side start afresh as well; what still arrives for a lower one is ignored. So does
// an offer of another instance: whoever is there has forgotten us and begun anew.

import { newKey } from './returning.js';

export class Peer extends EventTarget {
  pc = null;
  chat = null;
  name = '';
  away = false; // gone from the room, but perhaps not from the call
  ourKey = newKey(); // by which it can prove to us that it came back
  theirKey = ''; // by which we can prove that to it
  knownAs = ''; // our own id when it last met us
  #instance = newKey();
  #theirInstance = null;
  #generation = 0;
  #options;
  #started = false;
  #makingOffer = false;
  #ignoreOffer = false;
  #restarts = 0;
  #timer = 0;
  #retry = 0;
  #work = Promise.resolve();

  // options: { config(): RTCConfiguration, stream(): MediaStream | null, send(peer, data) }
  constructor(id, polite, knownAs, options) {
    super();
    Object.assign(this, { id, polite, knownAs });
    this.#options = options;
    this.#build();
  }

  // Begins to negotiate; for whoever was here first, and for whoever rebuilds.
  start() {
    if (this.#started) return;
    this.#started = true;
    clearTimeout(this.#timer);
    const { pc } = this;
    const chat = this.chat = pc.createDataChannel('chat', { negotiated: true, id: 0 });
    chat.onopen = () => {
      chat.send(JSON.stringify({ key: this.ourKey }));
      this.#emit('chat-open');
    };
    chat.onmessage = ({ data }) => this.#emit('chat', data);
    const stream = this.#options.stream();
    for (const track of stream?.getTracks() ?? []) pc.addTrack(track, stream);
  }

  // Waits for the other side to begin, but not for ever.
  expect() {
    this.#timer = setTimeout(() => this.start(), 4000);
  }

  rebuild() {
    this.#generation += 1;
    this.#build();
    this.start();
  }

  // A signal to this peer was refused for now. What it said is not worth sending again by then.
  retry() {
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => {
      if (!this.away && !this.isWell) this.rebuild();
    }, 1500 + Math.random() * 1500);
  }

  close() {
    clearTimeout(this.#timer);
    clearTimeout(this.#retry);
    this.#demolish();
  }

  // Signals are handled one after the other, as they came.
  receive(data) {
    this.#work = this.#work.then(() => this.#handle(data)).catch((error) => {
      console.warn('a signal could not be used', error);
    });
  }

  get isWell() {
    return this.pc.connectionState === 'connected' && this.pc.signalingState === 'stable';
  }

  #build() {
    this.#demolish();
    const pc = this.pc = new RTCPeerConnection(this.#options.config());
    this.#started = this.#makingOffer = this.#ignoreOffer = false;
    pc.onnegotiationneeded = async () => {
      try {
        this.#makingOffer = true;
        await pc.setLocalDescription();
        this.#send(pc, { description: pc.localDescription });
      } catch (error) {
        if (pc === this.pc) console.warn('could not make an offer', error);
      } finally {
        if (pc === this.pc) this.#makingOffer = false;
      }
    };
    pc.onicecandidate = ({ candidate }) => {
      this.#send(pc, { candidate });
      if (candidate?.candidate) this.#emit('candidate', candidate);
    };
    pc.onicecandidateerror = (error) => this.#emit('candidate-error', error);
    pc.ontrack = ({ track, streams }) => this.#emit('track', { track, stream: streams[0] });
    pc.onconnectionstatechange = () => {
      if (pc.connectionState === 'connected') this.#restarts = 0;
      if (pc.connectionState === 'failed') this.#restartSoon(pc);
      this.#emit('state');
    };
    // Channels that others open are theirs to use: a page or a test that wants them listens.
    pc.ondatachannel = ({ channel }) => {
      const detail = { peer: this.id, channel };
      window.dispatchEvent(new CustomEvent('hairpin-datachannel', { detail }));
    };
    this.#emit('state');
  }

  #demolish() {
    if (!this.pc) return;
    for (const name of ['negotiationneeded', 'icecandidate', 'icecandidateerror', 'track',
      'connectionstatechange', 'datachannel']) this.pc[`on${name}`] = null;
    this.pc.close();
  }

  #restartSoon(pc) {
    if (this.away || this.#restarts >= 6) return;
    const delay = 500 * 2 ** this.#restarts++ * (this.polite ? 1.5 : 1);
    setTimeout(() => {
      if (pc === this.pc && pc.connectionState === 'failed') pc.restartIce();
    }, delay);
  }

  async #handle({ instance, generation, description, candidate }) {
    if (!Number.isInteger(generation) || typeof instance !== 'string') return;
    const isOther = this.#theirInstance !== null && instance !== this.#theirInstance;
    if (!isOther && generation < this.#generation) return;
    if (isOther || generation > this.#generation) {
      if (description?.type !== 'offer') return;
      this.#generation = generation;
      this.#build();
    }
    this.#theirInstance = instance;
    const { pc } = this;
    if (description) {
      const { type, sdp } = description;
      const collision = type === 'offer' && (this.#makingOffer || pc.signalingState !== 'stable');
      this.#ignoreOffer = !this.polite && collision;
      if (this.#ignoreOffer) return;
      await pc.setRemoteDescription({ type, sdp });
      if (type === 'offer') {
        this.start();
        await pc.setLocalDescription();
        this.#send(pc, { description: pc.localDescription });
      }
    } else {
      try {
        await pc.addIceCandidate(candidate ?? undefined);
      } catch (error) {
        if (!this.#ignoreOffer) throw error;
      }
    }
  }

  #send(pc, data) {
    if (pc === this.pc) this.#options.send(this, { instance: this.#instance, generation: this.#generation, ...data });
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

// The pair that carries the packets: both ends, the protocol, the round trip and the bytes.
export async function selectedPair(pc) {
  const stats = await pc.getStats();
  let pair = null;
  for (const entry of stats.values()) {
    if (entry.type === 'transport' && entry.selectedCandidatePairId) {
      pair = stats.get(entry.selectedCandidatePairId);
      break;
    }
    // Browsers that don't say so on the transport mark the pair itself.
    if (entry.type === 'candidate-pair' && (entry.selected || (entry.nominated && entry.state === 'succeeded'))) {
      pair = entry;
    }
  }
  const local = pair && stats.get(pair.localCandidateId);
  const remote = pair && stats.get(pair.remoteCandidateId);
  if (!local || !remote) return null;
  return {
    localType: local.candidateType,
    remoteType: remote.candidateType,
    protocol: local.protocol,
    relayProtocol: local.relayProtocol ?? '',
    rttMs: pair.currentRoundTripTime === undefined ? null : pair.currentRoundTripTime * 1000,
    bytesSent: pair.bytesSent ?? 0,
    bytesReceived: pair.bytesReceived ?? 0,
  };
}
