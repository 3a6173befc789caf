// The room (XEP-0045) as Jitsi clients use it: the nick is the endpoint id, and everything that a participant says about
// itself (name, which sources are muted, a raised hand) is a child of its presence.

import { Emitter } from './emitter.js';
import { el, NS } from './xml.js';

const JOIN_TIMEOUT = 30_000; // ms

// JoinError: condition is not-authorized (password), registration-required (lobby: the address of the room to knock in), not-acceptable
// (nameRequired), service-unavailable (full), forbidden (banned), conflict, not-allowed, ...
export class JoinError extends Error {
  constructor(presence) {
    const error = presence.child('error');
    super(error?.child('text')?.text ?? '');
    this.condition = error?.all().find((c) => c.ns === NS.stanzas && c.name !== 'text')?.name ?? 'undefined-condition';
    this.lobby = error?.child('lobbyroom')?.text ?? '';
    this.nameRequired = Boolean(error?.child('displayname-required'));
  }
}

// Room emits: participant ('joined' | 'changed' | 'left', participant, why), self, focus (presence), focus-left, message (El), configured,
// subject (text), ended ({reason: 'kicked' | 'destroyed' | 'left', text, by, instead: address of the room to go to}).
export class Room extends Emitter {
  constructor({ connection, jid, nick, caps }) {
    super();
    this.connection = connection;
    this.jid = jid;
    this.nick = nick;
    this.caps = caps;
    this.focusJid = null;
    this.participants = new Map(); // nick -> Participant; the focus and we are not in it
    this.self = { id: nick, name: '', role: 'participant', hand: 0, sources: {} };
    this.joined = false;
    this.joining = null;
    this.off = [
      connection.on('presence', (p) => this.#ours(p) && this.#presence(p)),
      connection.on('message', (m) => this.#ours(m) && this.#message(m)),
    ];
  }

  // join resolves when the room has told us our own presence (status 110), after everybody else's. Without focusJid the room is a lobby:
  // nothing is said of media.
  join({ focusJid = null, name, sources = {}, password }) {
    this.focusJid = focusJid;
    Object.assign(this.self, { name, sources });
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.joining = null;
        reject(new Error('the room does not answer'));
      }, JOIN_TIMEOUT);
      const done = (fn) => (v) => {
        clearTimeout(timer);
        this.joining = null;
        fn(v);
      };
      this.joining = { resolve: done(resolve), reject: done(reject) };
      const x = el('x', { xmlns: NS.muc });
      if (password) x.add(el('password', {}, password));
      this.connection.send(this.#presenceStanza(x));
    });
  }

  // update changes what we say about ourselves: {name, hand (ms timestamp, 0: down), sources: {name: {muted, videoType}}}.
  update(change) {
    Object.assign(this.self, change);
    if (this.joined) this.connection.send(this.#presenceStanza());
  }

  // leave ends our stay; status says why, for other clients.
  leave(status) {
    for (const off of this.off) off();
    this.off = [];
    if (this.joined) this.connection.send(el('presence', { to: `${this.jid}/${this.nick}`, type: 'unavailable' }, status && el('status', {}, status)));
    this.joined = false;
    this.joining?.reject(new Error('left'));
  }

  // The children keep the order and the (missing) namespaces that other Jitsi clients use.
  #presenceStanza(x) {
    const { name, hand, sources } = this.self;
    const info = {};
    for (const [source, { muted, videoType }] of Object.entries(sources)) {
      info[source] = videoType && videoType !== 'camera' ? { muted, videoType } : { muted };
    }
    return el(
      'presence',
      { to: `${this.jid}/${this.nick}` },
      x,
      this.caps,
      this.focusJid && [
        el('SourceInfo', {}, JSON.stringify(info)),
        el('jitsi_participant_codecList', {}, 'vp8'),
        el('jitsi_participant_raisedHand', {}, hand ? String(hand) : ''),
      ],
      name && el('nick', { xmlns: NS.nick }, name),
    );
  }

  #ours(stanza) {
    return (stanza.attr('from') ?? '').split('/')[0] === this.jid;
  }

  #presence(p) {
    const id = nickOf(p.attr('from'));
    if (p.attr('type') === 'error') return this.joining?.reject(new JoinError(p));
    const x = p.child('x', NS.mucUser);
    const item = x?.child('item');
    const codes = x?.all('status').map((s) => s.attr('code')) ?? [];
    const own = codes.includes('110') || id === this.nick;

    if (p.attr('type') === 'unavailable') {
      if (p.child('ignore')) return;
      if (own) return this.#ended(x, item, codes);
      if (id === 'focus') return this.emit('focus-left');
      const gone = this.participants.get(id);
      const why = codes.includes('307') ? 'kicked' : p.child('status')?.text;
      if (gone && this.participants.delete(id)) this.emit('participant', 'left', gone, why);
      return;
    }
    if (p.attr('type')) return;

    if (own) {
      this.self.role = item?.attr('role') ?? 'participant';
      this.self.jid = item?.attr('jid') ?? '';
      if (!this.joined) {
        this.joined = true;
        this.joining?.resolve();
      }
      this.emit('self', this.self);
      return;
    }
    const jid = item?.attr('jid') ?? '';
    if (id === 'focus' && jid.startsWith(this.focusJid + '/')) return this.emit('focus', p);
    const known = this.participants.get(id);
    const participant = Object.assign(known ?? { id }, {
      jid,
      name: p.child('nick', NS.nick)?.text || '',
      role: item?.attr('role') ?? 'participant',
      hand: Number(p.child('jitsi_participant_raisedHand')?.text) || 0,
      sources: parseSourceInfo(id, p),
    });
    this.participants.set(id, participant);
    this.emit('participant', known ? 'changed' : 'joined', participant);
  }

  #ended(x, item, codes) {
    this.joined = false;
    const destroy = x?.child('destroy');
    const reason = destroy ? 'destroyed' : codes.includes('307') ? 'kicked' : 'left';
    this.emit('ended', { reason, text: (destroy ?? item)?.child('reason')?.text ?? '', by: item?.child('actor')?.attr('nick'), instead: destroy?.attr('jid') });
  }

  #message(m) {
    const subject = m.child('subject');
    if (subject && !m.child('body') && m.attr('type') === 'groupchat') return this.emit('subject', subject.text);
    if (m.attr('from') === this.jid && m.child('x', NS.mucUser)?.all('status').some((s) => s.attr('code') === '104')) return this.emit('configured');
    this.emit('message', m);
  }
}

export function nickOf(jid) {
  const slash = (jid ?? '').indexOf('/');
  return slash < 0 ? '' : jid.slice(slash + 1);
}

// parseSourceInfo reads which sources somebody has: {"<id>-a0": {muted, videoType}}. Clients that do not send the JSON (gateways)
// say <audiomuted/> and <videomuted/>.
export function parseSourceInfo(id, presence) {
  const text = presence.child('SourceInfo')?.text;
  if (text) {
    try {
      const info = JSON.parse(text);
      const out = {};
      for (const [name, v] of Object.entries(info)) {
        if (v && typeof v === 'object') out[name] = { muted: v.muted === true, videoType: v.videoType ?? (/-v\d+$/.test(name) ? 'camera' : undefined) };
      }
      return out;
    } catch {
      // a broken client is shown as if it sent nothing
    }
  }
  return {
    [`${id}-a0`]: { muted: presence.child('audiomuted')?.text === 'true' },
    [`${id}-v0`]: { muted: presence.child('videomuted')?.text === 'true', videoType: presence.child('videoType')?.text || 'camera' },
  };
}

// nickFor is the endpoint id of a session: the first 8 digits of a guest's UUID, random for accounts.
export function nickFor(jid) {
  const m = /^([0-9a-f]{8})-/.exec(jid);
  return m ? m[1] : [...crypto.getRandomValues(new Uint8Array(4))].map((b) => b.toString(16).padStart(2, '0')).join('');
}
