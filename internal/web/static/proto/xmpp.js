// The XMPP stream of the page: one WebSocket (RFC 7395) with SASL, resource binding, pings (XEP-0199) and stream
// management (XEP-0198), so that a network that fails for less than RESUME_BUDGET costs nothing but time.
//
//   1. open the socket, exchange <open/>, read the features          (RFC 7395 §3.4)
//   2. SASL, then <open/> again                                      (RFC 6120 §6)
//   3. bind, or <resume/> when there is a stream to go on with       (RFC 6120 §7, XEP-0198 §5)
//   4. <enable resume='true'/>                                       (XEP-0198 §3)
//   5. stanzas both ways; <r/> after every ACK_EVERY of ours         (XEP-0198 §4)
//   6. a broken socket: go to 1 with ?previd=<id>, until RESUME_BUDGET has passed

import { Emitter } from './emitter.js';
import { el, parse, NS } from './xml.js';
import * as sasl from './sasl.js';

const STEP_TIMEOUT = 15_000; // ms for one answer while the stream is negotiated
const IQ_TIMEOUT = 15_000; // ms
const ACK_EVERY = 5; // stanzas between two <r/>; what other Jitsi clients do
const MAX_UNACKED = 500; // stanzas; a server that acknowledges none of so many is gone
const PING_IDLE = 10_000; // ms without a stanza before a ping
const PING_TIMEOUT = 5_000; // ms
const PING_FAILURES = 2; // then the socket is given up
const RESUME_BUDGET = 60_000; // ms; servers keep a broken session for about a minute
const RETRY_MIN = 500;
const RETRY_MAX = 5_000; // ms between two attempts, with jitter

// StreamError says why a stream could not be made; condition is the name of the XMPP element, or 'network'.
export class StreamError extends Error {
  constructor(condition, text) {
    super(text || condition);
    this.condition = condition;
  }
}

// IQError is an iq of type error: condition such as 'item-not-found', the error element itself in error.
export class IQError extends Error {
  constructor(stanza) {
    const error = stanza.child('error');
    const condition = error?.all().find((c) => c.ns === NS.stanzas && c.name !== 'text')?.name ?? 'undefined-condition';
    super(error?.child('text')?.text || condition);
    this.condition = condition;
    this.error = error;
  }
}

// Connection emits: state ('connecting' | 'online' | 'reconnecting' | 'offline'), message, presence (El each),
// lost (reason; the stream cannot be resumed).
export class Connection extends Emitter {
  constructor({ url, domain, room, credentials = null }) {
    super();
    this.url = url;
    this.domain = domain;
    this.room = room;
    this.credentials = credentials;
    this.jid = null;
    this.state = 'offline';
    this.ws = null;
    this.waiter = null; // takes frames while the stream is negotiated
    this.iqs = new Map(); // id -> {resolve, reject, timer}
    this.handlers = []; // {ns, name, fn}
    this.nextId = 1;
    this.sm = null; // {id, in, out, queue: [string]} once enabled
    this.closing = false;
    this.pingFailures = 0;
    this.lastHeard = 0;
  }

  async connect() {
    this.setState('connecting');
    try {
      await this.open(false);
    } catch (err) {
      this.closing = true;
      this.ws?.close();
      this.setState('offline');
      throw err;
    }
    this.setState('online');
    this.keepAlive();
  }

  // send queues a stanza, and writes it when the stream is up.
  send(stanza) {
    stanza.ns ??= NS.client;
    const text = stanza.toString();
    if (this.sm) {
      this.sm.queue.push(text);
      this.sm.out++;
      if (this.sm.queue.length > MAX_UNACKED) return this.ws?.close();
    }
    if (!this.ready) return;
    this.raw(text);
    if (this.sm && this.sm.out % ACK_EVERY === 0) this.raw(el('r', { xmlns: NS.sm }).toString());
  }

  // iq sends a get or set and resolves with the result stanza; it rejects with IQError, or StreamError after the timeout.
  iq(stanza, timeout = IQ_TIMEOUT) {
    const id = (stanza.attrs.id ??= `k${this.nextId++}`);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.iqs.delete(id);
        reject(new StreamError('remote-server-timeout', `no answer to ${stanza.all()[0]?.name ?? 'iq'}`));
      }, timeout);
      this.iqs.set(id, { resolve, reject, timer });
      this.send(stanza);
    });
  }

  // onIQ lets fn answer iqs with that payload: fn(stanza, payload) returns the payload of the result (or nothing) and
  // throws {condition, extra} for an error.
  onIQ(ns, name, fn) {
    const h = { ns, name, fn };
    this.handlers.push(h);
    return () => (this.handlers = this.handlers.filter((x) => x !== h));
  }

  async close() {
    if (this.closing) return;
    this.closing = true;
    clearInterval(this.timer);
    if (this.ready) this.raw(el('close', { xmlns: NS.framing }).toString());
    this.ready = false;
    this.ws?.close();
    this.failIQs('closed');
    this.setState('offline');
  }

  // ---- negotiation ----

  async open(resume) {
    const url = new URL(this.url);
    if (this.room) url.searchParams.set('room', this.room);
    if (resume) url.searchParams.set('previd', this.sm.id);
    const ws = new WebSocket(url, 'xmpp');
    this.ws = ws;
    this.ready = false;
    await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new StreamError('network', 'connection timed out')), STEP_TIMEOUT);
      ws.onopen = () => (clearTimeout(timer), resolve());
      ws.onerror = ws.onclose = () => (clearTimeout(timer), reject(new StreamError('network', 'cannot reach the server')));
    });
    ws.onmessage = (ev) => this.frame(ws, ev.data);
    ws.onerror = null;
    ws.onclose = () => this.broken(ws);

    let features = await this.openStream();
    await this.authenticate(features.child('mechanisms', NS.sasl)?.all('mechanism').map((m) => m.text) ?? []);
    features = await this.openStream();

    if (resume) {
      this.raw(el('resume', { xmlns: NS.sm, h: this.sm.in, previd: this.sm.id }).toString());
      const answer = await this.expect((f) => f.ns === NS.sm && (f.name === 'resumed' || f.name === 'failed'));
      if (answer.name === 'failed') throw new StreamError('item-not-found', 'the session is gone');
      this.acked(Number(answer.attr('h')));
      this.ready = true;
      for (const text of this.sm.queue) this.raw(text);
      return;
    }

    const bind = el('iq', { xmlns: NS.client, type: 'set', id: 'bind' }, el('bind', { xmlns: NS.bind }));
    this.raw(bind.toString());
    const bound = await this.expect((f) => f.name === 'iq' && f.attr('id') === 'bind');
    if (bound.attr('type') !== 'result') throw new StreamError(new IQError(bound).condition);
    this.jid = bound.child('bind', NS.bind).child('jid').text;
    if (features.child('sm', NS.sm)) {
      this.raw(el('enable', { xmlns: NS.sm, resume: 'true' }).toString());
      const enabled = await this.expect((f) => f.ns === NS.sm && (f.name === 'enabled' || f.name === 'failed'));
      this.sm = enabled.attr('resume') === 'true' ? { id: enabled.attr('id'), in: 0, out: 0, queue: [] } : null;
    }
    this.ready = true;
  }

  async openStream() {
    this.raw(el('open', { xmlns: NS.framing, to: this.domain, version: '1.0' }).toString());
    await this.expect((f) => f.name === 'open' && f.ns === NS.framing);
    return this.expect((f) => f.name === 'features');
  }

  async authenticate(offered) {
    const mechanism = sasl.pick(offered, this.credentials);
    if (!mechanism) throw new StreamError('not-authorized', this.credentials ? 'no common mechanism' : 'this server asks for an account');
    const exchange = await sasl.begin(mechanism, this.credentials);
    const initial = mechanism === 'ANONYMOUS' ? [] : [sasl.b64(exchange.initial)];
    this.raw(el('auth', { xmlns: NS.sasl, mechanism }, ...initial).toString());
    for (;;) {
      const f = await this.expect((x) => x.ns === NS.sasl);
      if (f.name === 'failure') {
        const condition = f.all().find((c) => c.name !== 'text')?.name ?? 'not-authorized';
        throw new StreamError(condition, f.child('text')?.text);
      }
      if (f.name === 'success') return exchange.verify(sasl.unb64(f.text));
      this.raw(el('response', { xmlns: NS.sasl }, sasl.b64(await exchange.respond(sasl.unb64(f.text)))).toString());
    }
  }

  // expect resolves with the next frame that pred likes; others go their normal way (a push may come before the bind result).
  expect(pred) {
    return new Promise((resolve, reject) => {
      const done = (fn, v) => {
        clearTimeout(timer);
        this.waiter = null;
        fn(v);
      };
      const timer = setTimeout(() => done(reject, new StreamError('network', 'the server does not answer')), STEP_TIMEOUT);
      this.waiter = (f, err) => {
        if (err) return done(reject, err), true;
        if (!pred(f)) return false;
        return done(resolve, f), true;
      };
    });
  }

  // ---- frames ----

  raw(text) {
    if (this.ws?.readyState === WebSocket.OPEN) this.ws.send(text);
  }

  frame(ws, text) {
    if (ws !== this.ws) return;
    this.lastHeard = Date.now();
    let f;
    try {
      f = parse(text);
    } catch (err) {
      console.warn(err);
      return ws.close();
    }
    if (f.name === 'close' && f.ns === NS.framing) return ws.close();
    if (f.name === 'error' && f.ns === 'http://etherx.jabber.org/streams') {
      this.streamError = f.all().find((c) => c.name !== 'text')?.name;
      return ws.close();
    }
    if (this.waiter?.(f)) return;
    if (f.ns === NS.sm) return this.smFrame(f);
    if (f.ns !== NS.client) return;
    if (this.sm) this.sm.in++;
    if (f.name === 'iq') this.iqFrame(f);
    else if (f.name === 'message' || f.name === 'presence') this.emit(f.name, f);
  }

  smFrame(f) {
    if (!this.sm) return;
    if (f.name === 'r') this.raw(el('a', { xmlns: NS.sm, h: this.sm.in }).toString());
    if (f.name === 'a') this.acked(Number(f.attr('h')));
  }

  // acked drops what the server has handled: h counts all stanzas since <enable/>, modulo 2^32 (XEP-0198 §4).
  acked(h) {
    const acknowledged = (h - (this.sm.out - this.sm.queue.length)) >>> 0;
    this.sm.queue.splice(0, Math.min(acknowledged, this.sm.queue.length));
  }

  async iqFrame(f) {
    const type = f.attr('type');
    if (type === 'result' || type === 'error') {
      const waiting = this.iqs.get(f.attr('id'));
      if (!waiting) return;
      this.iqs.delete(f.attr('id'));
      clearTimeout(waiting.timer);
      return type === 'result' ? waiting.resolve(f) : waiting.reject(new IQError(f));
    }
    const payload = f.all()[0];
    const answer = (attrs, ...children) => this.send(el('iq', { to: f.attr('from'), id: f.attr('id'), ...attrs }, ...children));
    const handler = payload && this.handlers.find((h) => h.ns === payload.ns && h.name === payload.name);
    const fail = (condition, extra) =>
      answer({ type: 'error' }, el('error', { type: 'cancel' }, el(condition, { xmlns: NS.stanzas }), extra));
    if (payload?.ns === NS.ping) return answer({ type: 'result' });
    if (!handler) return fail('service-unavailable');
    try {
      answer({ type: 'result' }, await handler.fn(f, payload));
    } catch (err) {
      if (!err.condition) console.error(err);
      fail(err.condition ?? 'internal-server-error', err.extra);
    }
  }

  // ---- life ----

  setState(state) {
    if (state === this.state) return;
    this.state = state;
    this.emit('state', state);
  }

  failIQs(reason) {
    for (const { reject, timer } of this.iqs.values()) {
      clearTimeout(timer);
      reject(new StreamError('network', reason));
    }
    this.iqs.clear();
  }

  // broken is the end of one socket: resume, or give up.
  async broken(ws) {
    if (ws !== this.ws) return;
    this.ready = false;
    this.waiter?.(null, new StreamError(this.streamError ?? 'network', 'the connection broke'));
    if (this.closing || this.state !== 'online') return;
    if (!this.sm || this.streamError) return this.lose(this.streamError ?? 'network');
    this.setState('reconnecting');
    const deadline = Date.now() + RESUME_BUDGET;
    for (let wait = RETRY_MIN; Date.now() < deadline; wait = Math.min(wait * 2, RETRY_MAX)) {
      await delay(wait * (0.5 + Math.random()), 'online');
      if (this.closing) return;
      try {
        await this.open(true);
        this.setState('online');
        return;
      } catch (err) {
        const old = this.ws;
        this.ws = null;
        old?.close();
        if (err.condition !== 'network') return this.lose(err.condition);
      }
    }
    this.lose('network');
  }

  lose(reason) {
    this.closing = true;
    clearInterval(this.timer);
    this.failIQs(reason);
    this.setState('offline');
    this.emit('lost', reason);
  }

  // keepAlive pings the domain when nothing was heard for a while, and closes a dead socket so that it is resumed.
  keepAlive() {
    let pinging = false;
    this.timer = setInterval(async () => {
      if (!this.ready || pinging || Date.now() - this.lastHeard < PING_IDLE) return;
      pinging = true;
      try {
        await this.iq(el('iq', { type: 'get', to: this.domain }, el('ping', { xmlns: NS.ping })), PING_TIMEOUT);
        this.pingFailures = 0;
      } catch (err) {
        if (err instanceof IQError) this.pingFailures = 0;
        else if (++this.pingFailures >= PING_FAILURES) {
          this.pingFailures = 0;
          this.ws?.close();
          this.broken(this.ws); // a dead path can keep close() waiting for long
        }
      }
      pinging = false;
    }, 2_500);
  }
}

// delay waits ms, or less when the window event comes first.
export function delay(ms, event) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      if (event) removeEventListener(event, done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    if (event) addEventListener(event, done);
  });
}
