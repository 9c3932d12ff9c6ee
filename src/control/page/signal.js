// The signalling socket: it keeps itself open and never sends faster than the server allows.
//
// Events: "welcome", "joined", "peer+", "peer-", "signal", "error" with the frame as `detail`;
// "lost" when the socket broke and comes back by itself; "ended" when it does not.

const BACKOFF_MS = [0, 300, 1200, 2700, 4800, 7000, 10000];

export class Signal extends EventTarget {
  #url;
  #socket = null;
  #attempt = 0;
  #retry = 0;
  #closed = false;
  #waiting = [];
  #pacing = 0;
  // Half of what the server allows at once, and most of what it allows for ever: see #pace.
  #tokens = 50;
  #burst = 50;
  #perSecond = 25;
  #filledAt = performance.now();

  constructor(url) {
    super();
    this.#url = url;
  }

  open() {
    const socket = new WebSocket(this.#url, ['hairpin.v1']);
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
    socket.onclose = ({ code, reason }) => {
      if (this.#socket !== socket || this.#closed) return;
      this.#waiting = []; // said to peers under ids that are gone with the socket
      // 4000 to 4499 mean "return"; from 4500 on, and for what we did wrong, it would not help.
      const stop = code >= 4500 || [1002, 1003, 1007, 1009].includes(code);
      this.#emit(stop ? 'ended' : 'lost', { code, reason });
      if (stop) return;
      const delay = BACKOFF_MS[Math.min(this.#attempt++, BACKOFF_MS.length - 1)];
      this.#retry = setTimeout(() => this.open(), delay + Math.random() * (delay || 200));
    };
  }

  send(frame) {
    this.#waiting.push(JSON.stringify(frame));
    this.#pace();
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#retry);
    clearTimeout(this.#pacing);
    // What waits is gone with us, but not a last `leave` that could go out at once.
    this.#socket?.close(1000);
  }

  #receive(frame) {
    if (frame.type === 'welcome') {
      this.#attempt = 0;
      this.#burst = this.#tokens = frame.limits.messageBurst / 2;
      this.#perSecond = frame.limits.messagesPerSec * 0.8;
      this.#filledAt = performance.now();
    }
    this.#emit(frame.type, frame);
  }

  // A mesh that forms sends many frames at once; over the rate the server would drop them.
  #pace() {
    clearTimeout(this.#pacing);
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    const now = performance.now();
    this.#tokens += (now - this.#filledAt) * this.#perSecond / 1000;
    this.#tokens = Math.min(this.#tokens, this.#burst);
    this.#filledAt = now;
    while (this.#waiting.length > 0 && this.#tokens >= 1) {
      this.#tokens -= 1;
      this.#socket.send(this.#waiting.shift());
    }
    if (this.#waiting.length > 0) {
      this.#pacing = setTimeout(() => this.#pace(), 1000 / this.#perSecond);
    }
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
