// The bridge channel: JSON objects with a colibriClass, over an SCTP data channel that the client opens, or over the WebSocket
// of the offer when there is no data content.

import { Emitter } from './emitter.js';

const LABEL = 'JVB data channel';
const PROTOCOL = 'http://jitsi.org/protocols/colibri';
const RETRY_MAX = 60_000; // ms between two attempts to open the WebSocket

// BridgeChannel emits 'open', 'close', and one event per colibriClass with the whole message.
export class BridgeChannel extends Emitter {
  constructor() {
    super();
    this.channel = null;
    this.closed = false;
    this.latest = new Map(); // what the bridge must know again after a reconnect: key -> message
  }

  overSCTP(pc) {
    this.#use(pc.createDataChannel(LABEL, { protocol: PROTOCOL }));
  }

  overWebSocket(url, wait = 1000) {
    if (this.closed) return;
    const ws = new WebSocket(url);
    this.#use(ws);
    ws.addEventListener('close', (ev) => {
      if (ev.code !== 1001) setTimeout(() => this.overWebSocket(url, Math.min(wait * 2, RETRY_MAX)), wait);
    });
  }

  get open() {
    return this.channel?.readyState === 'open' || this.channel?.readyState === WebSocket.OPEN;
  }

  // videoConstraints says what we want to see: {lastN, onStageSources, selectedSources, defaultConstraints, constraints}.
  videoConstraints(c) {
    this.#state('constraints', { colibriClass: 'ReceiverVideoConstraints', ...c });
  }

  // videoType announces what one of our own sources shows: camera, desktop or none.
  videoType(sourceName, videoType) {
    this.#state('type ' + sourceName, { colibriClass: 'SourceVideoTypeMessage', sourceName, videoType });
  }

  // message sends an object to one endpoint, or to everybody ('').
  message(to, msgPayload) {
    this.#send({ colibriClass: 'EndpointMessage', to, msgPayload });
  }

  stats(stats) {
    this.#send({ colibriClass: 'EndpointStats', ...stats });
  }

  close() {
    this.closed = true;
    this.channel?.close();
  }

  #use(channel) {
    this.channel = channel;
    channel.addEventListener('open', () => {
      for (const m of this.latest.values()) this.#send(m);
      this.emit('open');
    });
    channel.addEventListener('close', () => this.emit('close'));
    channel.addEventListener('message', (ev) => {
      let m;
      try {
        m = JSON.parse(ev.data);
      } catch {
        return console.warn('bridge channel: no JSON');
      }
      if (typeof m?.colibriClass === 'string') this.emit(m.colibriClass, m);
    });
  }

  #state(key, m) {
    this.latest.set(key, m);
    this.#send(m);
  }

  #send(m) {
    if (this.open) this.channel.send(JSON.stringify(m));
  }
}
