// What moderators do to people and meetings, and what is done to us: mute, kick, grant, password, end for all; and the av_moderation
// component, by which nobody but moderators and those they allow may switch on microphone, camera or screen.

import { Emitter } from './emitter.js';
import { nickOf } from './muc.js';
import { setPassword } from './roomconfig.js';
import { el, NS } from './xml.js';

export const KINDS = ['audio', 'video', 'desktop'];
const MUTE_NS = { audio: NS.muteAudio, video: NS.muteVideo, desktop: NS.muteDesktop };
const KEY = { audio: 'a0', video: 'v0', desktop: 'v1' }; // of LocalMedia

// Emits change, allowed (kind; a moderator lets us unmute) and withdrawn (kind; not any more).
export class Moderation extends Emitter {
  constructor(conference) {
    super();
    this.conference = conference;
    this.#reset();
    conference.on('connection', (connection) => {
      for (const kind of KINDS) connection.onIQ(MUTE_NS[kind], 'mute', (iq, m) => this.#muteRequest(kind, iq, m));
    });
    conference.on('room', () => this.#reset());
    conference.on('component:av_moderation', (json) => this.#event(json));
  }

  #reset() {
    this.moderated = { audio: false, video: false, desktop: false }; // only who is allowed may switch it on
    this.allowed = { audio: false, video: false, desktop: false }; // we are
    this.lists = { audio: [], video: [], desktop: [] }; // ids of those who are; moderators know
    this.forceMuted = new Set(); // kinds that the focus muted and we have not switched on since
  }

  get supported() {
    return this.conference.components.has('av_moderation');
  }

  // may tells whether we may switch kind on.
  may(kind) {
    return !this.moderated[kind] || this.allowed[kind] || this.conference.isModerator;
  }

  // mayOther tells moderators whether somebody else may.
  mayOther(kind, p) {
    return !this.moderated[kind] || p.role === 'moderator' || this.lists[kind].includes(p.id);
  }

  // ---- people ----

  muteIQ(kind, id, muted) {
    const { jid } = this.conference.room;
    return el('iq', { type: 'set', to: `${jid}/focus` }, el('mute', { xmlns: MUTE_NS[kind], jid: `${jid}/${id}` }, String(muted)));
  }

  mute(id, kind = 'audio') {
    return this.conference.attempt(() => this.conference.connection.iq(this.muteIQ(kind, id, true)));
  }

  muteAll(kind = 'audio') {
    return Promise.all(this.conference.participants.filter((p) => sends(p, kind)).map((p) => this.mute(p.id, kind)));
  }

  kick(id) {
    return this.#admin({ nick: id, role: 'none' });
  }

  grant(id) {
    const jid = this.conference.room.participants.get(id)?.jid.split('/')[0];
    if (jid) return this.#admin({ jid, affiliation: 'owner' });
  }

  #admin(item) {
    const { room, connection } = this.conference;
    return this.conference.attempt(() => connection.iq(el('iq', { type: 'set', to: room.jid }, el('query', { xmlns: NS.mucAdmin }, el('item', item)))));
  }

  // ---- the meeting ----

  // setPassword sets the password of the meeting, '' for none; it resolves with whether that worked.
  setPassword(password) {
    const { conference } = this;
    return conference.attempt(async () => {
      await setPassword(conference.connection, conference.room.jid, password);
      conference.login.password = password; // we come back with it
    });
  }

  endForAll() {
    this.conference.tell('end_conference', el('end_conference', { xmlns: NS.jitmeet }));
  }

  setModerated(kind, on) {
    this.#command({ enable: String(on), mediaType: kind });
  }

  // allow lets somebody switch kind on, or takes that back.
  allow(id, kind, on = true) {
    this.#command({ mediaType: kind, [on ? 'jidToWhitelist' : 'jidToBlacklist']: `${this.conference.room.jid}/${id}` });
  }

  #command(attrs) {
    this.conference.tell('av_moderation', el('av_moderation', { xmlns: NS.jitmeet, ...attrs }));
  }

  // ---- what happens to us ----

  #event(json) {
    const kind = json.mediaType;
    if (!KINDS.includes(kind) || json.room !== this.conference.room?.jid) return;
    if (typeof json.enabled === 'boolean') {
      this.moderated[kind] = json.enabled;
      this.allowed[kind] = false;
      this.lists[kind] = [];
      const by = nickOf(json.actor) === this.conference.id ? '' : this.conference.nameOf(nickOf(json.actor));
      if (!this.conference.isModerator) this.conference.emit('notice', { key: `notice.${json.enabled ? 'moderated' : 'free'}.${kind}`, params: { name: by } });
    } else if (json.whitelists) {
      this.lists[kind] = (json.whitelists[kind] ?? []).map(nickOf);
    } else if (json.approved) {
      this.allowed[kind] = true;
      this.emit('allowed', kind);
    } else if (json.removed) {
      this.allowed[kind] = false;
      this.conference.media.stop(KEY[kind]);
      this.emit('withdrawn', kind);
    }
    this.emit('change');
  }

  #muteRequest(kind, iq, m) {
    if (iq.attr('from') !== `${this.conference.room?.jid}/focus`) throw { condition: 'not-allowed' };
    if (m.text.trim() !== 'true') return;
    const was = this.conference.media.sending(KEY[kind]);
    this.forceMuted.add(kind);
    this.conference.media.stop(KEY[kind]);
    const by = nickOf(m.attr('actor'));
    if (was && by !== this.conference.id) this.conference.emit('notice', { key: `notice.muted.${kind}`, params: { name: this.conference.nameOf(by) } });
  }

  // unmuted is for what the focus had muted: it wants to be asked before others get it again.
  async unmuted(key) {
    const kind = KINDS.find((k) => KEY[k] === key);
    if (!this.forceMuted.delete(kind)) return;
    try {
      await this.conference.connection.iq(this.muteIQ(kind, this.conference.id, false));
    } catch {
      this.forceMuted.add(kind);
      this.conference.media.stop(key);
      this.conference.emit('notice', { key: 'notice.unmuteRefused' });
    }
  }
}

// sends tells whether a participant sends something of that kind.
export function sends(p, kind) {
  return Object.entries(p.sources).some(([name, s]) => {
    if (s.muted) return false;
    if (kind === 'audio') return /-a\d+$/.test(name);
    return /-v\d+$/.test(name) && (s.videoType === 'desktop') === (kind === 'desktop');
  });
}
