// MediaSession is the RTCPeerConnection with the bridge. Its state is the list of slots (see sdp.js); #negotiate writes an offer from
// it, answers it, and tells what became of our own sources. Changes that come while it runs are taken together by its next round.

import { Emitter } from './emitter.js';
import { buildOffer, parseAnswer, withoutMID, withSources, msidOf, simulcast } from './sdp.js';

const RIDS = ['1', '2', '3']; // simulcast layers of the camera, low to high: 1/4, 1/2, 1/1 of its size
const LAYERS = RIDS.length;
const LAYER_BITRATES = [200_000, 500_000, 1_500_000]; // bit/s, low to high
const SCREEN_BITRATE = 2_500_000; // bit/s

// Emits: track ({source, track}), gone (source), sources ({added, removed}; ours, to be signalled), ice (state).
export class MediaSession extends Emitter {
  constructor({ endpointId, iceServers, relayOnly }) {
    super();
    this.endpointId = endpointId;
    this.pc = new RTCPeerConnection({ iceServers, iceTransportPolicy: relayOnly ? 'relay' : 'all', bundlePolicy: 'max-bundle' });
    this.pc.addEventListener('connectionstatechange', () => this.emit('ice', this.pc.connectionState));
    this.slots = [];
    this.local = new Map(); // 'a0' | 'v0' | 'v1' -> {key, slot, track, wanted, source}
    this.heights = new Map(); // our source name -> what receivers want at most
    this.layering = null; // how the browser is brought to send layers: 'rid' (our offer), 'ssrc' (its answer, rewritten) or 'none'; null: not known yet
    this.version = 0;
    this.description = null; // our last answer
    this.accepted = false;
    this.sessionId = Math.floor(Math.random() * 2 ** 48);
    this.dirty = false;
    this.running = null;
  }

  // start answers the first offer; it resolves with {description, sources} for the session-accept.
  async start(offer, tracks) {
    this.offer = isGecko() ? withoutMID(offer) : offer;
    const feedback = (kind) => offer.sources.find((s) => s.owner === 'jvb' && s.kind === kind) ?? null;
    for (const kind of ['audio', 'video']) {
      if (!offer.contents[kind]) continue;
      const slot = this.#addSlot(kind, 'sendrecv', feedback(kind));
      const key = kind === 'audio' ? 'a0' : 'v0';
      this.local.set(key, { key, slot, track: tracks[key] ?? null, wanted: Boolean(tracks[key]), source: null });
    }
    if (offer.contents.data) this.#addSlot('application', 'sendrecv', null);
    if (tracks.v1) this.#screenSlot(tracks.v1);
    for (const s of offer.sources) if (s.owner !== 'jvb' && s.owner !== this.endpointId) this.#place(s);
    await this.changed();
    this.accepted = true; // from now on changes of our sources are told one by one
    return { description: this.description, sources: this.ownSources() };
  }

  ownSources() {
    return [...this.local.values()].map((l) => l.source).filter(Boolean);
  }

  // setTrack changes what we send as 'a0', 'v0' or 'v1' (null: nothing; the source stays signalled, except for the screen).
  async setTrack(key, track) {
    let local = this.local.get(key);
    if (key === 'v1' && track && !local) local = this.#screenSlot(track);
    if (!local) return;
    local.track = track;
    const wanted = key === 'v1' ? Boolean(track) : local.wanted || Boolean(track);
    const changed = wanted !== local.wanted || (key === 'v1' && wanted && !local.source);
    local.wanted = wanted;
    if (changed) return this.changed();
    const transceiver = this.#transceiver(local.slot);
    if (!transceiver) return; // the first round has yet to come, and takes the track along
    await transceiver.sender.replaceTrack(track);
    await this.#encodings(local);
  }

  addSources(sources) {
    for (const s of sources) if (s.owner !== 'jvb' && s.owner !== this.endpointId) this.#place(s);
    return this.changed();
  }

  // removeSources takes those with one of the SSRCs; removeOwner all of one endpoint.
  removeSources(sources) {
    const ssrcs = new Set(sources.flatMap((s) => s.ssrcs));
    return this.#remove((s) => s.ssrcs.some((n) => ssrcs.has(n)));
  }

  removeOwner(owner) {
    return this.#remove((s) => s.owner === owner);
  }

  // setMaxHeight switches off the layers of one of our sources that nobody wants (SenderSourceConstraints); -1: all are wanted.
  async setMaxHeight(name, height) {
    this.heights.set(name, height);
    for (const local of this.local.values()) if (local.source?.name === name) await this.#encodings(local);
  }

  close() {
    this.closed = true;
    this.pc.close();
  }

  // changed asks for a round of negotiation; it resolves when one has taken in the change. There is one round at a time.
  changed() {
    this.dirty = true;
    this.running ??= this.#rounds().finally(() => (this.running = null));
    return this.running;
  }

  async #rounds() {
    while (this.dirty && !this.closed) {
      this.dirty = false;
      const { added, removed } = await this.#negotiate();
      if (this.accepted && added.length + removed.length > 0) this.emit('sources', { added, removed });
    }
  }

  // ---- slots ----

  #addSlot(kind, direction, source) {
    const slot = { mid: String(this.slots.length), kind, direction, source, delivered: null };
    this.slots.push(slot);
    return slot;
  }

  #place(source) {
    const known = this.slots.find((s) => s.source?.name === source.name && s.source.owner === source.owner && s.direction === 'sendonly');
    if (known) {
      known.source = source; // new SSRCs under the old name
      return;
    }
    if (!this.offer.contents[source.kind]) return;
    const free = this.slots.find((s) => s.kind === source.kind && s.direction === 'inactive');
    if (free) Object.assign(free, { direction: 'sendonly', source });
    else this.#addSlot(source.kind, 'sendonly', source);
  }

  #remove(match) {
    let any = false;
    for (const slot of this.slots) {
      if (slot.direction !== 'sendonly' || !slot.source || !match(slot.source)) continue;
      const { source } = slot;
      Object.assign(slot, { direction: 'inactive', source: null, delivered: null });
      this.emit('gone', source);
      any = true;
    }
    return any ? this.changed() : Promise.resolve();
  }

  #screenSlot(track) {
    const local = { key: 'v1', slot: this.#addSlot('video', 'recvonly', null), track, wanted: false, source: null };
    this.local.set('v1', local);
    return local;
  }

  #transceiver(slot) {
    return this.pc.getTransceivers().find((t) => t.mid === slot.mid);
  }

  // ---- negotiation ----

  async #negotiate() {
    this.version++;
    this.layering ??= (await signalsLayers()) ? 'rid' : 'ssrc';
    const camera = this.local.get('v0');
    if (camera && this.layering === 'rid') camera.slot.rids = RIDS;
    await this.pc.setRemoteDescription({ type: 'offer', sdp: buildOffer(this) });
    for (const local of this.local.values()) {
      const t = this.#transceiver(local.slot);
      if (!t) continue;
      const receive = local.key !== 'v1';
      t.direction = local.wanted ? (receive ? 'sendrecv' : 'sendonly') : receive ? 'recvonly' : 'inactive';
      if (t.sender.track !== local.track) await t.sender.replaceTrack(local.track);
    }
    const sdp = await this.#answer();
    this.description = parseAnswer(sdp);
    const { added, removed } = this.#ownSourcesOf(this.description);
    for (const local of this.local.values()) await this.#encodings(local);
    for (const slot of this.slots) {
      if (slot.direction !== 'sendonly' || slot.delivered === slot.source) continue;
      slot.delivered = slot.source;
      this.emit('track', { source: slot.source, track: this.#transceiver(slot).receiver.track });
    }
    return { added, removed };
  }

  async #answer() {
    const answer = await this.pc.createAnswer();
    const camera = this.local.get('v0');
    let { sdp } = answer;
    if (camera?.wanted && this.layering === 'ssrc') {
      const ours = parseAnswer(sdp).byMid[camera.slot.mid];
      if (ours?.ssrcs.length > 0) {
        camera.layers ??= simulcast({ ssrcs: ours.ssrcs, groups: ours.groups, cname: ours.cname }, LAYERS, randomSSRC);
        sdp = withSources(sdp, camera.slot.mid, { ...camera.layers, msid: msidOf(sdp, camera.slot.mid) });
      }
    }
    try {
      await this.pc.setLocalDescription({ type: 'answer', sdp });
      if (camera?.layers && this.#transceiver(camera.slot).sender.getParameters().encodings.length === LAYERS) return sdp;
    } catch (err) {
      if (sdp === answer.sdp) throw err;
      await this.pc.setLocalDescription(answer);
    }
    if (camera?.layers) {
      this.layering = 'none';
      camera.layers = null;
    }
    return this.pc.localDescription.sdp;
  }

  #ownSourcesOf(description) {
    const added = [];
    const removed = [];
    for (const local of this.local.values()) {
      const m = description.byMid[local.slot.mid];
      const sending = local.wanted && m?.ssrcs.length > 0;
      if (sending && !local.source) {
        const name = `${this.endpointId}-${local.key}`;
        local.source = {
          name,
          owner: this.endpointId,
          kind: m.kind,
          videoType: { a0: undefined, v0: 'camera', v1: 'desktop' }[local.key],
          msid: `${this.endpointId}-${m.kind}-${local.key[1]} ${name}`,
          ssrcs: m.ssrcs,
          groups: m.groups,
        };
        added.push(local.source);
      } else if (!sending && local.source) {
        removed.push(local.source);
        local.source = null;
      }
    }
    return { added, removed };
  }

  // #encodings sets sizes and bit rates of the layers, and which of them are sent. A sender takes one change at a time.
  #encodings(local) {
    local.busy = (local.busy ?? Promise.resolve()).then(() => this.#setEncodings(local)).catch((err) => console.warn('encodings', err));
    return local.busy;
  }

  async #setEncodings(local) {
    if (this.closed || !local.source || local.source.kind !== 'video') return;
    const { sender } = this.#transceiver(local.slot);
    const p = sender.getParameters();
    if (!p.encodings?.length) return;
    const wanted = this.heights.get(local.source.name) ?? -1;
    const { width = 1280, height = 720 } = local.track?.getSettings() ?? {};
    const n = p.encodings.length;
    p.encodings.forEach((e, i) => {
      const scale = 2 ** (n - 1 - i);
      const below = Math.min(width, height) / (scale * 2); // size of the next smaller layer
      e.active = wanted < 0 || (wanted > 0 && (i === 0 || below < wanted));
      if (local.key === 'v1') e.maxBitrate = SCREEN_BITRATE;
      else e.maxBitrate = n === 1 ? LAYER_BITRATES.at(-1) : LAYER_BITRATES[i];
      if (n > 1) e.scaleResolutionDownBy = scale;
    });
    p.degradationPreference = local.key === 'v1' ? 'maintain-resolution' : 'balanced';
    await sender.setParameters(p);
  }
}

// signalsLayers says whether this browser writes the SSRCs of layers with RIDs into its descriptions (Firefox does, Chromium does not): the
// bridge learns layers by their SSRCs.
async function signalsLayers() {
  const pc = new RTCPeerConnection();
  try {
    pc.addTransceiver('video', { direction: 'sendonly', sendEncodings: RIDS.map((rid) => ({ rid })) });
    const { sdp } = await pc.createOffer();
    return new Set(sdp.match(/^a=ssrc:\d+ /gm)).size >= LAYERS;
  } catch {
    return false;
  } finally {
    pc.close();
  }
}

// isGecko: Firefox, but not on iOS, where it is WebKit.
const isGecko = () => /\bGecko\/\d/.test(navigator.userAgent);

function randomSSRC() {
  return crypto.getRandomValues(new Uint32Array(1))[0] >>> 1 || 1; // upper half is left to the bridge
}
