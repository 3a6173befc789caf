// Conference is one meeting from the client's side: it ties the protocol modules together, in this order.
//
//   join     Connection.connect -> extdisco -> focus request -> Room.join (self presence last)
//   media    session-initiate from R/focus -> MediaSession.start -> session-accept -> bridge channel opens
//   others   source-add / source-remove -> MediaSession -> 'track' -> participants' media
//   ours     LocalMedia 'track' -> MediaSession.setTrack -> (source-add) + presence SourceInfo + SourceVideoTypeMessage
//   layers   view(...) -> ReceiverVideoConstraints;  SenderSourceConstraints -> MediaSession.setMaxHeight
//   trouble  socket broken -> XEP-0198 resume (Connection);  resume refused -> rejoin from the start;
//            ICE failed -> session-terminate with restart='true' -> a new session-initiate
//
// What the page asks of the server:
//
//   | stanza or message                                   | what for                                   | when refused                  |
//   |-----------------------------------------------------|--------------------------------------------|-------------------------------|
//   | SASL ANONYMOUS, or SCRAM / PLAIN with an account    | a session                                  | lobby asks for an account     |
//   | enable / resume (XEP-0198)                          | outlive a broken network                   | rejoin from the start         |
//   | services (XEP-0215)                                 | STUN and TURN                              | go on without                 |
//   | conference (focus)                                  | the focus in the room                      | lobby asks for an account     |
//   | presence to R/nick                                  | be in the room                             | password, full, banned: lobby |
//   | session-accept, source-add, source-remove           | our sources                                | session is restarted          |
//   | session-terminate restart='true'                    | a new media session after ICE failed       | rejoin from the start         |
//   | ReceiverVideoConstraints, SourceVideoTypeMessage    | which video, how large; what ours shows    | (no answer)                   |
//   | mute to R/focus                                     | mute somebody (moderators); after unmuting | a notice                      |
//   | muc#admin item role='none'                          | remove somebody (moderators)               | a notice                      |

import { Emitter } from './emitter.js';
import { Connection, StreamError, IQError, delay } from './xmpp.js';
import { Room, nickFor, nickOf } from './muc.js';
import { MediaSession } from './session.js';
import { BridgeChannel } from './bridge.js';
import { el, NS } from './xml.js';
import * as caps from './caps.js';
import * as focus from './focus.js';
import * as jingle from './jingle.js';
import { iceServers } from './services.js';
import { collect, quality } from './stats.js';

const REJOIN_ATTEMPTS = 8; // with growing pauses, about a minute and a half
const RESTART_PAUSE = 5_500; // ms; servers want 5 s between two restarts of a media session
const STATS_INTERVAL = 10_000; // ms between two EndpointStats
const STAGE_HEIGHT = 2160; // lines; more than any camera here sends
const MUTE_NS = { audio: NS.muteAudio, video: NS.muteVideo, desktop: NS.muteDesktop };

// Conference emits: state (see below), participants, message, subject, notice ({key, params}), dominant, stage, ended ({reason, text, by}).
// state: idle, connecting, joined, reconnecting, failed, ended.
export class Conference extends Emitter {
  constructor({ config, room, media, options = {} }) {
    super();
    this.config = config;
    this.name = room;
    this.media = media;
    this.options = options; // {relayOnly, turn: 'udp' | 'tcp'}: for tests of the TURN paths
    this.state = 'idle';
    this.iceState = 'new';
    this.details = new Map(); // endpoint id -> {media: Map(source name -> {source, track}), active, quality}
    this.dominant = null;
    this.subject = '';
    this.messages = [];
    this.constraints = null;
    this.forceMuted = new Set();
    this.joinedAt = null;
    media.on('track', (key, track) => this.#localTrack(key, track));
  }

  get id() {
    return this.room?.nick ?? null;
  }

  get self() {
    return this.room?.self ?? null;
  }

  get isModerator() {
    return this.self?.role === 'moderator';
  }

  // participants lists the others with their media, in the order of joining.
  get participants() {
    return [...(this.room?.participants.values() ?? [])].map((p) => {
      const d = this.#detail(p.id);
      return { ...p, media: [...d.media.values()], active: d.active, quality: d.quality, dominant: this.dominant === p.id };
    });
  }

  // ---- joining and leaving ----

  async join({ name, password, credentials = null }) {
    this.login = { name, password, credentials };
    this.#setState('connecting');
    try {
      await this.#enter();
    } catch (err) {
      this.#teardown();
      this.#setState('idle');
      throw err;
    }
    this.joinedAt ??= Date.now();
    this.#setState('joined');
  }

  async #enter() {
    const { name, password, credentials } = this.login;
    const { hosts, websocket } = this.config;
    const connection = new Connection({
      url: websocket,
      domain: credentials ? hosts.domain : (hosts.anonymousdomain ?? hosts.domain),
      room: this.name,
      credentials,
    });
    this.connection = connection;
    connection.on('state', (s) => this.#streamState(connection, s));
    connection.on('lost', () => connection === this.connection && this.#rejoin());
    await connection.connect();
    connection.onIQ(NS.discoInfo, 'query', caps.answer);
    connection.onIQ(NS.jingle, 'jingle', (iq, j) => this.#jingle(iq, j));
    for (const [kind, ns] of Object.entries(MUTE_NS)) connection.onIQ(ns, 'mute', (iq, m) => this.#muteRequest(kind, iq, m));

    const jid = `${this.name}@${hosts.muc}`;
    const [ice, { focusJid }, c] = await Promise.all([
      iceServers(connection, this.options.turn).catch((err) => (console.warn('no TURN servers:', err.message), [])),
      focus.request(connection, hosts.focus ?? `focus.${hosts.domain}`, jid),
      caps.presenceElement(),
    ]);
    this.ice = ice;
    this.#setRoom(new Room({ connection, jid, nick: nickFor(connection.jid), caps: c }));
    await this.room.join({ focusJid, name, sources: this.#sourceInfo(), password });
  }

  #setRoom(room) {
    this.room = room;
    room.on('participant', (what, p) => {
      if (what === 'left') {
        this.details.delete(p.id);
        if (this.dominant === p.id) this.dominant = null;
        this.#try(this.session, (s) => s.removeOwner(p.id));
      }
      if (this.state === 'joined' && what !== 'changed') this.emit('notice', { key: `notice.${what}`, params: { name: p.name } });
      this.emit('participants');
    });
    room.on('self', () => this.emit('participants'));
    room.on('subject', (s) => ((this.subject = s), this.emit('subject', s)));
    room.on('message', (m) => {
      if (m.delayed && this.messages.some((x) => x.id && x.id === m.id)) return; // history again after a rejoin
      this.messages.push(m);
      this.emit('message', m);
    });
    room.on('notice', (text) => this.emit('notice', { text }));
    room.on('focus-left', () => this.#rejoin());
    room.on('ended', (e) => {
      this.#teardown();
      this.#setState('ended');
      this.emit('ended', { ...e, by: this.#nameOf(e.by) });
    });
  }

  leave() {
    if (this.state === 'idle' || this.state === 'ended') return;
    if (this.session && this.jingleSession) this.connection?.send(jingle.terminate(this.jingleSession, 'success'));
    this.room?.leave();
    this.#teardown();
    this.#setState('ended');
    this.emit('ended', { reason: 'left' });
  }

  #teardown() {
    clearInterval(this.statsTimer);
    this.#endSession();
    const { connection } = this;
    this.room?.leave();
    this.connection = null;
    connection?.close();
    this.details.clear();
    this.dominant = null;
  }

  // #rejoin starts from nothing with what the person had typed; participants stay on the screen until the room tells them anew.
  async #rejoin() {
    if (this.rejoining || this.state === 'ended' || this.state === 'idle' || this.state === 'connecting') return;
    this.rejoining = true;
    this.#setState('reconnecting');
    for (let i = 0, wait = 1000; i < REJOIN_ATTEMPTS; i++, wait = Math.min(wait * 2, 20_000)) {
      this.#teardown();
      try {
        await this.#enter();
        this.rejoining = false;
        this.#setState('joined');
        this.emit('participants');
        return;
      } catch (err) {
        console.warn('rejoin:', err.message);
        if (this.state !== 'reconnecting') break;
        await delay(wait, 'online');
      }
    }
    this.rejoining = false;
    if (this.state !== 'reconnecting') return;
    this.#teardown();
    this.#setState('failed');
  }

  #streamState(connection, s) {
    if (connection !== this.connection || this.rejoining) return;
    if (s === 'reconnecting' && this.state === 'joined') this.#setState('reconnecting');
    if (s === 'online' && this.state === 'reconnecting') this.#setState('joined');
  }

  #setState(state) {
    if (this.state === state) return;
    this.state = state;
    this.emit('state', state);
  }

  // ---- Jingle ----

  // #jingle answers each request at once and works on it afterwards, in order; source-add is answered when it is done.
  #jingle(iq, j) {
    const from = iq.attr('from');
    const action = j.attr('action');
    if (from !== `${this.room?.jid}/focus`) {
      // A peer-to-peer offer of another participant: media stay on the bridge here.
      if (action !== 'session-initiate') return;
      const peer = { peer: from, sid: j.attr('sid'), initiator: j.attr('initiator') };
      setTimeout(() => this.connection?.send(jingle.terminate(peer, 'decline')));
      return;
    }
    if (action === 'session-initiate') {
      this.#startSession(from, jingle.parseOffer(j)); // goes on after the answer to this iq
      return;
    }
    if (j.attr('sid') !== this.jingleSession?.sid) throw { condition: 'item-not-found', extra: el('unknown-session', { xmlns: NS.jingleErrors }) };
    switch (action) {
      case 'source-add':
        // Answered when they can be received: the focus was told so (caps.js), and lets media flow then.
        return this.#try(this.session, (s) => s.addSources(jingle.parseSources(j)));
      case 'source-remove':
        this.#try(this.session, (s) => s.removeSources(jingle.parseSources(j)));
        return;
      case 'session-terminate':
        this.#endSession();
        return;
      default:
        throw { condition: 'feature-not-implemented' };
    }
  }

  #startSession(peer, offer) {
    this.#endSession();
    this.jingleSession = { peer, sid: offer.sid, initiator: offer.initiator, bridgeSession: offer.bridgeSession };
    if (offer.startMuted.audio && !this.startMutedSeen) this.media.setMic(false);
    if (offer.startMuted.video && !this.startMutedSeen) this.media.setCamera(false);
    this.startMutedSeen = true;
    const session = new MediaSession({ endpointId: this.id, iceServers: this.ice, relayOnly: this.options.relayOnly });
    this.session = session;
    session.on('track', ({ source, track }) => {
      this.#detail(source.owner).media.set(source.name, { source, track });
      this.emit('participants');
    });
    session.on('gone', (source) => {
      this.#detail(source.owner).media.delete(source.name);
      this.emit('participants');
    });
    session.on('ice', (s) => this.#iceState(session, s));
    session.on('sources', (change) => this.#try(session, () => this.#signal(change)));
    this.#openBridge(session, offer);
    this.#try(session, () => this.#accept(session, offer));
  }

  async #accept(session, offer) {
    const { connection } = this;
    const { description, sources } = await session.start(offer, this.media.tracks);
    if (session !== this.session) return;
    await connection.iq(jingle.accept(this.jingleSession, connection.jid, description, sources));
    for (const s of sources) this.#announceType(s.name);
    clearInterval(this.statsTimer);
    this.statsTimer = setInterval(() => this.#sendStats(), STATS_INTERVAL);
  }

  async #signal({ added, removed }) {
    if (removed.length) await this.connection.iq(jingle.sourceChange('source-remove', this.jingleSession, removed));
    if (added.length) await this.connection.iq(jingle.sourceChange('source-add', this.jingleSession, added));
    for (const s of added) this.#announceType(s.name);
  }

  // #try does something with a session; when it fails, and the session still is the current one, a new one is asked for.
  async #try(session, fn) {
    if (!session || session !== this.session) return;
    try {
      await fn(session);
    } catch (err) {
      if (session !== this.session) return;
      console.warn('media session:', err);
      if (err instanceof IQError && err.condition === 'resource-constraint') return this.emit('notice', { key: 'notice.limit' });
      this.#restart();
    }
  }

  async #iceState(session, s) {
    if (session !== this.session) return;
    this.iceState = s;
    this.emit('ice', s);
    if (s === 'failed') this.#restart();
  }

  // #restart asks the focus for a new session, at most every RESTART_PAUSE.
  async #restart() {
    const old = this.jingleSession;
    if (!old || this.restarting) return;
    this.restarting = true;
    this.#endSession();
    const wait = (this.lastRestart ?? -Infinity) + RESTART_PAUSE - Date.now();
    if (wait > 0) await delay(wait);
    this.lastRestart = Date.now();
    this.restarting = false;
    if (this.jingleSession || this.state === 'ended') return; // the focus was faster
    try {
      await this.connection.iq(jingle.terminate(old, 'connectivity-error', true));
    } catch (err) {
      if (err instanceof StreamError && this.state !== 'joined') return;
      this.#rejoin();
    }
  }

  #endSession() {
    this.bridge?.close();
    this.session?.close();
    this.bridge = this.session = this.jingleSession = null;
    for (const d of this.details.values()) d.media.clear();
    this.iceState = 'new';
    this.emit('participants');
  }

  // ---- the bridge channel ----

  #openBridge(session, offer) {
    const bridge = new BridgeChannel();
    this.bridge = bridge;
    bridge.on('open', () => this.emit('bridge'));
    bridge.on('DominantSpeakerEndpointChangeEvent', (m) => {
      this.dominant = m.dominantSpeakerEndpoint;
      this.emit('dominant', this.dominant);
    });
    bridge.on('EndpointConnectivityStatusChangeEvent', (m) => {
      this.#detail(m.endpoint).active = String(m.active) === 'true';
      this.emit('participants');
    });
    bridge.on('SenderSourceConstraints', (m) => session.setMaxHeight(m.sourceName, m.maxHeight));
    bridge.on('ForwardedSources', (m) => {
      this.forwarded = new Set(m.forwardedSources);
      this.emit('participants');
    });
    bridge.on('EndpointStats', (m) => {
      this.#detail(m.from).quality = m.connectionQuality;
      this.emit('quality', m.from);
    });
    bridge.on('ConnectionStats', (m) => (this.downlink = m.estimatedDownlinkBandwidth));
    bridge.on('EndpointMessage', (m) => this.emit('endpoint-message', m));
    if (this.constraints) bridge.videoConstraints(this.constraints);
    if (offer.contents.data) bridge.overSCTP(session.pc);
    else if (offer.transport.webSocket) bridge.overWebSocket(offer.transport.webSocket);
  }

  // view tells the bridge what is on the screen: stage is a source name or null, heights the lines that the other tiles have
  // (source name -> lines), fallback what a source gets that is not listed.
  view({ stage = null, heights = {}, fallback = 180 }) {
    const constraints = {};
    for (const [name, maxHeight] of Object.entries(heights)) if (maxHeight !== fallback) constraints[name] = { maxHeight };
    if (stage) constraints[stage] = { maxHeight: STAGE_HEIGHT };
    const next = { lastN: -1, selectedSources: [], onStageSources: stage ? [stage] : [], defaultConstraints: { maxHeight: fallback }, constraints };
    if (JSON.stringify(next) === JSON.stringify(this.constraints)) return;
    this.constraints = next;
    this.bridge?.videoConstraints(next);
  }

  // ---- ourselves ----

  // #localTrack: LocalMedia has another track (or none) for 'a0', 'v0' or 'v1'.
  async #localTrack(key, track) {
    if (this.state === 'idle' || !this.room) return;
    this.room.update({ sources: this.#sourceInfo() });
    this.emit('participants');
    const kind = { a0: 'audio', v0: 'video', v1: 'desktop' }[key];
    if (track && this.media.sending(key) && this.forceMuted.delete(kind)) {
      this.connection.iq(this.#muteIQ(kind, this.id, false)).catch(() => {
        this.media.stop(key);
        this.emit('notice', { key: 'notice.unmuteRefused' });
      });
    }
    await this.#try(this.session, (s) => s.setTrack(key, track));
    if (key !== 'a0') this.#announceType(`${this.id}-${key}`);
  }

  #announceType(name) {
    const type = { v0: this.media.sending('v0') ? 'camera' : 'none', v1: this.media.sending('v1') ? 'desktop' : 'none' }[name.slice(-2)];
    if (type) this.bridge?.videoType(name, type);
  }

  #sourceInfo() {
    const id = this.room?.nick ?? nickFor(this.connection.jid);
    const info = { [`${id}-a0`]: { muted: !this.media.sending('a0') }, [`${id}-v0`]: { muted: !this.media.sending('v0') } };
    if (this.media.sending('v1')) info[`${id}-v1`] = { muted: false, videoType: 'desktop' };
    return info;
  }

  setName(name) {
    this.login.name = name;
    this.room?.update({ name });
  }

  raiseHand(up) {
    this.room?.update({ hand: up ? Date.now() : 0 });
    this.emit('participants');
  }

  sendChat(text) {
    this.room?.send(text);
  }

  // ---- moderation ----

  #muteIQ(kind, id, muted) {
    return el('iq', { type: 'set', to: `${this.room.jid}/focus` }, el('mute', { xmlns: MUTE_NS[kind], jid: `${this.room.jid}/${id}` }, String(muted)));
  }

  async mute(id, kind = 'audio') {
    try {
      await this.connection.iq(this.#muteIQ(kind, id, true));
    } catch {
      this.emit('notice', { key: 'notice.refused' });
    }
  }

  async kick(id) {
    try {
      await this.connection.iq(el('iq', { type: 'set', to: this.room.jid }, el('query', { xmlns: NS.mucAdmin }, el('item', { nick: id, role: 'none' }))));
    } catch {
      this.emit('notice', { key: 'notice.refused' });
    }
  }

  #muteRequest(kind, iq, m) {
    if (iq.attr('from') !== `${this.room?.jid}/focus`) throw { condition: 'not-allowed' };
    if (m.text.trim() !== 'true') return;
    this.forceMuted.add(kind);
    this.media.stop({ audio: 'a0', video: 'v0', desktop: 'v1' }[kind]);
    this.emit('notice', { key: `notice.muted.${kind}`, params: { name: this.#nameOf(nickOf(m.attr('actor'))) } });
  }

  // ---- statistics ----

  // stats resolves with {inbound, outbound, path} (see stats.js), and what the bridge said last: forwarded sources, downlink in bit/s.
  async stats() {
    return { ...(await collect(this.session)), forwarded: [...(this.forwarded ?? [])], downlink: this.downlink ?? null };
  }

  async #sendStats() {
    const now = await this.stats();
    const { connectionQuality, ...rates } = quality(now, this.lastStats);
    this.lastStats = now;
    this.quality = connectionQuality;
    this.bridge?.stats({ ...rates, connectionQuality });
    this.emit('quality', this.id);
  }

  // ---- helpers ----

  #detail(id) {
    if (!this.details.has(id)) this.details.set(id, { media: new Map(), active: true, quality: null });
    return this.details.get(id);
  }

  #nameOf(id) {
    return (id && this.room?.participants.get(id)?.name) || '';
  }
}
