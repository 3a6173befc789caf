// Call is the media of one stay in a room: the Jingle session with the focus, the bridge channel beside it, what we send, and numbers.
//
//   session-initiate from R/focus -> MediaSession.start -> session-accept -> bridge channel opens
//   source-add / source-remove -> MediaSession -> 'track' -> participants' media
//   LocalMedia 'track' -> MediaSession.setTrack -> (source-add) + SourceVideoTypeMessage
//   view(...) -> ReceiverVideoConstraints;  SenderSourceConstraints -> MediaSession.setMaxHeight
//   ICE failed -> session-terminate with restart='true' -> a new session-initiate

import { StreamError, IQError, delay } from './xmpp.js';
import { MediaSession } from './session.js';
import { BridgeChannel } from './bridge.js';
import { el, NS } from './xml.js';
import * as jingle from './jingle.js';
import { collect, quality } from './stats.js';

const RESTART_PAUSE = 5_500; // ms; servers want 5 s between two restarts of a media session
const STATS_INTERVAL = 10_000; // ms between two EndpointStats
const STAGE_HEIGHT = 2160; // lines; more than any camera here sends

// Call tells the conference's listeners: ice (state), dominant (id), bridge, quality (id), endpoint-message, participants.
export class Call {
  constructor(conference, { relayOnly = false } = {}) {
    this.conference = conference;
    this.relayOnly = relayOnly;
    this.session = this.bridge = this.jingleSession = null;
    this.iceState = 'new';
    this.constraints = null;
    this.forwarded = new Set();
    this.downlink = null; // bit/s, as the bridge estimates
    this.quality = null; // of our own connection, 0..100
    conference.on('connection', (connection) => connection.onIQ(NS.jingle, 'jingle', (iq, j) => this.#jingle(iq, j)));
  }

  // ---- Jingle ----

  // #jingle answers each request at once and works on it afterwards, in order; source-add is answered when it is done.
  #jingle(iq, j) {
    const from = iq.attr('from');
    const action = j.attr('action');
    if (from !== `${this.conference.room?.jid}/focus`) {
      // A peer-to-peer offer of another participant: media stay on the bridge here.
      if (action !== 'session-initiate') return;
      const peer = { peer: from, sid: j.attr('sid'), initiator: j.attr('initiator') };
      setTimeout(() => this.conference.send(jingle.terminate(peer, 'decline')));
      return;
    }
    if (action === 'session-initiate') {
      this.#start(from, jingle.parseOffer(j)); // goes on after the answer to this iq
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
        this.end();
        return;
      default:
        throw { condition: 'feature-not-implemented' };
    }
  }

  #start(peer, offer) {
    const { conference } = this;
    this.end();
    this.jingleSession = { peer, sid: offer.sid, initiator: offer.initiator, bridgeSession: offer.bridgeSession };
    if (offer.startMuted.audio && !this.startMutedSeen) conference.media.setMic(false);
    if (offer.startMuted.video && !this.startMutedSeen) conference.media.setCamera(false);
    this.startMutedSeen = true;
    const session = new MediaSession({ endpointId: conference.id, iceServers: conference.ice, relayOnly: this.relayOnly });
    this.session = session;
    session.on('track', ({ source, track }) => {
      conference.detail(source.owner).media.set(source.name, { source, track });
      conference.emit('participants');
    });
    session.on('gone', (source) => {
      conference.detail(source.owner).media.delete(source.name);
      conference.emit('participants');
    });
    session.on('ice', (s) => this.#iceChanged(session, s));
    session.on('sources', (change) => this.#try(session, () => this.#signal(change)));
    this.#openBridge(session, offer);
    this.#try(session, () => this.#accept(session, offer));
  }

  async #accept(session, offer) {
    const { connection, media } = this.conference;
    const { description, sources } = await session.start(offer, media.tracks);
    if (session !== this.session) return;
    await connection.iq(jingle.accept(this.jingleSession, connection.jid, description, sources));
    for (const s of sources) this.#announceType(s.name);
    clearInterval(this.statsTimer);
    this.statsTimer = setInterval(() => this.#sendStats(), STATS_INTERVAL);
  }

  async #signal({ added, removed }) {
    const { connection } = this.conference;
    if (removed.length) await connection.iq(jingle.sourceChange('source-remove', this.jingleSession, removed));
    if (added.length) await connection.iq(jingle.sourceChange('source-add', this.jingleSession, added));
    for (const s of added) this.#announceType(s.name);
  }

  // removeOwner forgets the media of somebody who has left.
  removeOwner(id) {
    this.#try(this.session, (s) => s.removeOwner(id));
  }

  // #try does something with a session; when it fails, and the session still is the current one, a new one is asked for.
  async #try(session, fn) {
    if (!session || session !== this.session) return;
    try {
      await fn(session);
    } catch (err) {
      if (session !== this.session) return;
      console.warn('media session:', err);
      if (err instanceof IQError && err.condition === 'resource-constraint') return this.conference.emit('notice', { key: 'notice.limit' });
      this.#restart();
    }
  }

  #iceChanged(session, s) {
    if (session !== this.session) return;
    this.iceState = s;
    this.conference.emit('ice', s);
    if (s === 'failed') this.#restart();
  }

  // #restart asks the focus for a new session, at most every RESTART_PAUSE.
  async #restart() {
    const old = this.jingleSession;
    if (!old || this.restarting) return;
    const { conference } = this;
    this.restarting = true;
    this.end();
    const wait = (this.lastRestart ?? -Infinity) + RESTART_PAUSE - Date.now();
    if (wait > 0) await delay(wait);
    this.lastRestart = Date.now();
    this.restarting = false;
    if (this.jingleSession || conference.state === 'ended' || old.peer !== `${conference.room?.jid}/focus`) return; // the focus was faster, or we are elsewhere
    try {
      await conference.connection.iq(jingle.terminate(old, 'connectivity-error', true));
    } catch (err) {
      if (err instanceof StreamError && conference.state !== 'joined') return;
      conference.rejoin();
    }
  }

  // hangUp ends the session and tells the focus; end only ends it.
  hangUp() {
    if (this.session && this.jingleSession) this.conference.send(jingle.terminate(this.jingleSession, 'success'));
    this.end();
  }

  end() {
    clearInterval(this.statsTimer);
    this.bridge?.close();
    this.session?.close();
    this.bridge = this.session = this.jingleSession = null;
    this.iceState = 'new';
    this.conference.withoutMedia();
  }

  // ---- the bridge channel ----

  #openBridge(session, offer) {
    const { conference } = this;
    const bridge = new BridgeChannel();
    this.bridge = bridge;
    bridge.on('open', () => conference.emit('bridge'));
    bridge.on('DominantSpeakerEndpointChangeEvent', (m) => {
      conference.dominant = m.dominantSpeakerEndpoint;
      conference.emit('dominant', conference.dominant);
    });
    bridge.on('EndpointConnectivityStatusChangeEvent', (m) => {
      conference.detail(m.endpoint).active = String(m.active) === 'true';
      conference.emit('participants');
    });
    bridge.on('SenderSourceConstraints', (m) => session.setMaxHeight(m.sourceName, m.maxHeight));
    bridge.on('ForwardedSources', (m) => {
      this.forwarded = new Set(m.forwardedSources);
      conference.emit('participants');
    });
    bridge.on('EndpointStats', (m) => {
      conference.detail(m.from).quality = m.connectionQuality;
      conference.emit('quality', m.from);
    });
    bridge.on('ConnectionStats', (m) => (this.downlink = m.estimatedDownlinkBandwidth));
    bridge.on('EndpointMessage', (m) => conference.emit('endpoint-message', m));
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

  // ---- what we send ----

  // localTrack: LocalMedia has another track (or none) for 'a0', 'v0' or 'v1'.
  async localTrack(key, track) {
    await this.#try(this.session, (s) => s.setTrack(key, track));
    if (key !== 'a0') this.#announceType(`${this.conference.id}-${key}`);
  }

  #announceType(name) {
    const { media } = this.conference;
    const type = { v0: media.sending('v0') ? 'camera' : 'none', v1: media.sending('v1') ? 'desktop' : 'none' }[name.slice(-2)];
    if (type) this.bridge?.videoType(name, type);
  }

  // ---- numbers ----

  // stats resolves with {inbound, outbound, path} (see stats.js), and what the bridge said last: forwarded sources, downlink in bit/s.
  async stats() {
    return { ...(await collect(this.session)), forwarded: [...this.forwarded], downlink: this.downlink };
  }

  async #sendStats() {
    const now = await this.stats();
    const { connectionQuality, ...rates } = quality(now, this.lastStats);
    this.lastStats = now;
    this.quality = connectionQuality;
    this.bridge?.stats({ ...rates, connectionQuality });
    this.conference.emit('quality', this.conference.id);
  }
}
