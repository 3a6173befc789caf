// The lobby: while a meeting is for members only, others knock in a room of their own, where only moderators see them.
//
//   knocking    the meeting refuses with the lobby room's address (JoinError.lobby) -> Knock enters that room and waits there
//   let in      a mediated invitation from the meeting (XEP-0045 §7.8.2), with its password if it has one; or the lobby room is
//               destroyed in favour of the meeting, because the lobby was turned off
//   sent away   kicked out of the lobby room (status 307)
//   moderators  sit in the lobby room too (Lobby), as soon as there is one, and see who knocks

import { Emitter } from './emitter.js';
import { Room } from './muc.js';
import { setMembersOnly } from './roomconfig.js';
import { el, NS } from './xml.js';

// LobbyError ends the waiting: condition is denied, destroyed or cancelled.
export class LobbyError extends Error {
  constructor(condition, text) {
    super(text || condition);
    this.condition = condition;
  }
}

// Knock is one person's stay in the lobby room.
export class Knock {
  constructor({ connection, meeting, lobby, nick, name, caps }) {
    this.connection = connection;
    this.meeting = meeting;
    this.name = name;
    this.room = new Room({ connection, jid: lobby, nick, caps });
    this.done = new Promise((resolve, reject) => Object.assign(this, { resolve, reject }));
    this.done.catch(() => {}); // who knocks waits for it only once it is in the lobby room
  }

  // admitted resolves with {password} when the meeting may be entered.
  async admitted() {
    const { connection, room } = this;
    const off = connection.on('message', (m) => this.#invitation(m));
    room.on('ended', ({ reason, text, instead }) => {
      if (instead === this.meeting) this.resolve({});
      else this.reject(new LobbyError(reason === 'kicked' ? 'denied' : 'destroyed', text));
    });
    try {
      await Promise.race([room.join({ name: this.name }), this.done]);
      return await this.done;
    } finally {
      off();
      room.leave();
    }
  }

  cancel() {
    this.reject(new LobbyError('cancelled'));
  }

  #invitation(m) {
    const x = m.child('x', NS.mucUser);
    if (m.attr('from') !== this.meeting || !x?.child('invite')) return;
    this.resolve({ password: x.child('password')?.text });
  }
}

// Lobby is the moderators' side. knockers is a Map of id -> {id, name, jid}. Emits change and knock (knocker).
export class Lobby extends Emitter {
  constructor(conference) {
    super();
    this.conference = conference;
    this.knockers = new Map();
    this.room = null;
    conference.on('info', () => this.#follow());
    conference.on('self', () => this.#follow());
    conference.on('left-room', () => this.#leave());
  }

  get supported() {
    return this.conference.components.has('lobbyrooms');
  }

  get enabled() {
    return Boolean(this.conference.info?.membersOnly);
  }

  setEnabled(on) {
    const { conference } = this;
    return conference.attempt(() => setMembersOnly(conference.connection, conference.mainRoom, on, conference.participants.map((p) => p.jid)));
  }

  // admit lets people in: one mediated invitation each, in one message to the meeting.
  admit(ids) {
    const invites = ids.map((id) => this.knockers.get(id)).filter(Boolean).map((k) => el('invite', { to: k.jid }));
    if (invites.length > 0) this.conference.send(el('message', { to: this.conference.mainRoom }, el('x', { xmlns: NS.mucUser }, invites)));
  }

  deny(id) {
    const { conference, room } = this;
    return conference.attempt(() => conference.connection.iq(el('iq', { type: 'set', to: room.jid }, el('query', { xmlns: NS.mucAdmin }, el('item', { nick: id, role: 'none' })))));
  }

  // #follow is in the lobby room exactly while there is one and we are moderator.
  #follow() {
    const { conference } = this;
    const jid = conference.isModerator ? conference.info?.lobby : '';
    if (jid === (this.room?.jid ?? '')) return;
    this.#leave();
    if (jid) this.#enter(jid);
  }

  #enter(jid) {
    const { conference } = this;
    const room = new Room({ connection: conference.connection, jid, nick: conference.room.nick, caps: conference.caps });
    this.room = room;
    room.on('participant', (what, p) => this.#knocker(what, p));
    room.on('ended', () => room === this.room && this.#leave());
    room.join({ name: conference.self.name }).catch((err) => {
      console.warn('lobby:', err.message);
      if (room === this.room) this.#leave();
    });
  }

  #knocker(what, p) {
    if (this.conference.everybody().some((jid) => jid === p.jid)) return; // moderators wait in the lobby room as we do
    if (what === 'left') this.knockers.delete(p.id);
    else this.knockers.set(p.id, { id: p.id, name: p.name, jid: p.jid });
    this.emit('change');
    if (what === 'joined') this.emit('knock', p);
  }

  #leave() {
    this.room?.leave();
    this.room = null;
    if (this.knockers.size === 0) return;
    this.knockers.clear();
    this.emit('change');
  }
}
