// Conference is one meeting from the client's side: it joins, leaves, comes back and changes rooms, and ties the modules together that
// know one thing each. Its order:
//
//   join     Connection.connect -> extdisco, disco of the domain -> focus request -> Room.join (self presence last)
//            refused with a lobby's address -> Knock waits there, and the room is entered when somebody lets us in
//   media    Call: Jingle session with the focus, bridge channel, what we send
//   others   presences -> participants; JSON of components -> 'component:<type>' -> Moderation, Polls, Breakout, ...
//   rooms    switchRoom: leave one MUC, enter another on the same connection (breakout rooms)
//   trouble  socket broken -> XEP-0198 resume (Connection);  resume refused -> rejoin from the start
//
// What the page asks of the server:
//
//   | stanza or message                                   | module         | when refused                              |
//   |-----------------------------------------------------|----------------|-------------------------------------------|
//   | SASL ANONYMOUS, or SCRAM / PLAIN with an account    | xmpp, sasl     | the door asks for an account              |
//   | enable / resume (XEP-0198)                          | xmpp           | rejoin from the start                     |
//   | services (XEP-0215), disco#info of the domain       | services, components | go on without TURN, without components |
//   | conference (focus)                                  | focus          | the door asks for an account              |
//   | presence to R/nick                                  | muc            | password, lobby, full, banned: the door   |
//   | presence to the lobby room                          | lobby          | the door                                  |
//   | session-accept, source-add, source-remove           | call, session  | session is restarted                      |
//   | session-terminate restart='true'                    | call           | rejoin from the start                     |
//   | ReceiverVideoConstraints, SourceVideoTypeMessage, EndpointMessage | call, bridge | (no answer)                   |
//   | mute to R/focus; muc#admin, muc#owner; av_moderation | moderation, roomconfig | a notice                         |
//   | breakout_rooms, polls, speakerstats, end_conference | module of the same name | a notice                         |
//   | groupchat and chat, with XEP-0308, 0424, 0425, 0444, 0461 | chat     | a notice                                  |

import { Emitter } from './emitter.js';
import { Connection, IQError, delay } from './xmpp.js';
import { JoinError, Room, nickFor } from './muc.js';
import { Call } from './call.js';
import { Chat } from './chat.js';
import { Knock, Lobby, LobbyError } from './lobby.js';
import { Moderation } from './moderation.js';
import { Breakout } from './breakout.js';
import { Polls } from './polls.js';
import { Reactions } from './reactions.js';
import { Recording } from './recording.js';
import { SpeakerStats } from './speakerstats.js';
import { el, NS } from './xml.js';
import * as caps from './caps.js';
import * as focus from './focus.js';
import { components, parseJSON } from './components.js';
import { roomInfo } from './roomconfig.js';
import { iceServers } from './services.js';

const REJOIN_ATTEMPTS = 8; // with growing pauses, about a minute and a half
const KINDS = { a0: 'audio', v0: 'video', v1: 'desktop' };

// Conference emits for the page: state (see below), participants, subject, notice ({key, params} or {text}), dominant, ice, quality,
// ended ({reason, text, by}); for its modules also connection, room, left-room, left-meeting, info, self, focus, endpoint-message and
// component:<type> (json).
// state: idle, connecting, waiting (in the lobby), joined, switching (to another room of the meeting), reconnecting, failed, ended.
export class Conference extends Emitter {
  constructor({ config, room, media, options = {} }) {
    super();
    this.config = config;
    this.name = room;
    this.mainRoom = `${room}@${config.hosts?.muc}`;
    this.media = media;
    this.turn = options.turn; // 'udp', 'tcp' or 'tls': only these TURN servers, for tests
    this.state = 'idle';
    this.components = new Map(); // type -> address
    this.info = null; // what the room says of itself (roomconfig.js)
    this.details = new Map(); // endpoint id -> {media: Map(source name -> {source, track}), active, quality}
    this.dominant = null;
    this.subject = '';
    this.joinedAt = null;
    this.call = new Call(this, { relayOnly: options.relayOnly });
    this.chat = new Chat(this);
    this.lobby = new Lobby(this);
    this.moderation = new Moderation(this);
    this.breakout = new Breakout(this);
    this.polls = new Polls(this);
    this.reactions = new Reactions(this);
    this.recording = new Recording(this);
    this.speakers = new SpeakerStats(this);
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

  // participants lists the others in our room with their media, in the order of joining.
  get participants() {
    return [...(this.room?.participants.values() ?? [])].map((p) => {
      const d = this.detail(p.id);
      return { ...p, media: [...d.media.values()], active: d.active, quality: d.quality, dominant: this.dominant === p.id };
    });
  }

  // hands lists the ids of those who raised a hand, ourselves included, first come first.
  get hands() {
    return [this.self, ...(this.room?.participants.values() ?? [])]
      .filter((p) => p?.hand)
      .sort((a, b) => a.hand - b.hand)
      .map((p) => p.id);
  }

  // everybody lists the real addresses of all in the meeting, in breakout rooms too.
  everybody() {
    const here = [...(this.room?.participants.values() ?? [])].map((p) => p.jid);
    return [this.connection?.jid, ...here, ...this.breakout.rooms.flatMap((r) => r.people.map((p) => p.jid))];
  }

  nameOf(id) {
    return (id && (id === this.id ? this.self.name : this.room?.participants.get(id)?.name)) || '';
  }

  // ---- joining and leaving ----

  // join enters the meeting; with knock it waits in the lobby if there is one. It rejects with StreamError, IQError, JoinError or LobbyError.
  async join({ name, password, credentials = null, knock = false }) {
    this.login = { name, password, credentials, knock };
    this.#setState('connecting');
    try {
      await this.#enter(this.mainRoom);
    } catch (err) {
      this.#teardown();
      this.#setState('idle');
      throw err;
    }
    this.joinedAt ??= Date.now();
    this.#setState('joined');
  }

  // #enter connects and goes to a room of the meeting.
  async #enter(jid) {
    const { credentials } = this.login;
    const { hosts, websocket } = this.config;
    const connection = new Connection({
      url: websocket,
      domain: credentials ? hosts.domain : (hosts.anonymousdomain ?? hosts.domain),
      room: this.name,
      credentials,
    });
    this.connection = connection;
    connection.on('state', (s) => this.#streamState(connection, s));
    connection.on('lost', () => connection === this.connection && this.rejoin());
    connection.on('message', (m) => connection === this.connection && this.#componentMessage(m));
    await connection.connect();
    connection.onIQ(NS.discoInfo, 'query', caps.answer);
    this.emit('connection', connection);
    const optional = (what, fallback) => (err) => (console.warn(what, err.message), fallback);
    [this.ice, this.components, this.caps] = await Promise.all([
      iceServers(connection, this.turn).catch(optional('no TURN servers:', [])),
      components(connection).catch(optional('no components:', new Map())),
      caps.presenceElement(),
    ]);
    await this.#enterRoom(jid);
  }

  // #enterRoom goes to a room on the present connection.
  async #enterRoom(jid) {
    const { connection, login } = this;
    try {
      await this.#joinRoom(jid, login.password);
    } catch (err) {
      if (!(err instanceof JoinError && err.lobby && (login.knock || this.rejoining))) throw err;
      this.room.leave();
      if (this.rejoining) this.emit('notice', { key: 'door.waiting' });
      else this.#setState('waiting');
      this.knock = new Knock({ connection, meeting: this.mainRoom, lobby: err.lobby, nick: nickFor(connection.jid), name: login.name, caps: this.caps });
      const { password } = await this.knock.admitted();
      if (!this.rejoining) this.#setState('connecting');
      await this.#joinRoom(jid, password ?? login.password);
    }
    this.#askInfo();
  }

  async #joinRoom(jid, password) {
    const { hosts } = this.config;
    const { focusJid } = await focus.request(this.connection, hosts.focus ?? `focus.${hosts.domain}`, jid);
    this.#setRoom(new Room({ connection: this.connection, jid, nick: this.nick ?? nickFor(this.connection.jid), caps: this.caps }));
    await this.room.join({ focusJid, name: this.login.name, sources: this.#sourceInfo(), password });
    this.nick = this.room.nick; // the same in every room of this visit
  }

  // cancel ends the waiting in the lobby.
  cancel() {
    this.knock?.cancel();
  }

  #setRoom(room) {
    this.room = room;
    room.on('participant', (what, p, why) => {
      if (what === 'left') {
        this.details.delete(p.id);
        if (this.dominant === p.id) this.dominant = null;
        this.call.removeOwner(p.id);
      }
      if (this.state === 'joined' && what !== 'changed') this.emit('notice', { key: why === 'kicked' ? 'notice.kicked' : `notice.${what}`, params: { name: p.name } });
      this.emit('participants');
    });
    room.on('self', () => (this.emit('self'), this.emit('participants')));
    room.on('subject', (s) => ((this.subject = s), this.emit('subject', s)));
    room.on('configured', () => this.#askInfo());
    room.on('focus', (p) => this.emit('focus', p));
    room.on('focus-left', () => room === this.room && this.rejoin());
    room.on('ended', (e) => this.#roomEnded(room, e));
    this.emit('room', room);
  }

  // #roomEnded: we are out, or a breakout room was closed and names the room to go to.
  #roomEnded(room, { reason, text, by, instead }) {
    if (room !== this.room) return;
    if (reason === 'destroyed' && instead) return this.switchRoom(instead);
    by = this.nameOf(by);
    this.#teardown();
    this.#setState('ended');
    this.emit('ended', { reason, text, by });
  }

  // #askInfo reads the room's own description, again after each change of it.
  async #askInfo() {
    const { room } = this;
    try {
      const info = await roomInfo(this.connection, room.jid);
      if (room !== this.room) return;
      this.info = info;
      this.emit('info', info);
    } catch (err) {
      console.warn('room info:', err.message);
    }
  }

  leave() {
    if (this.state === 'idle' || this.state === 'ended') return;
    if (this.state === 'waiting') return this.cancel();
    this.call.hangUp();
    this.#teardown();
    this.#setState('ended');
    this.emit('ended', { reason: 'left' });
  }

  #leaveRoom(status) {
    this.room?.leave(status);
    this.details.clear();
    this.dominant = null;
    this.info = null;
    this.emit('left-room');
  }

  #teardown() {
    this.call.end();
    this.knock?.cancel();
    this.#leaveRoom();
    this.emit('left-meeting');
    const { connection } = this;
    this.connection = this.nick = this.knock = null;
    connection?.close();
  }

  // switchRoom goes to another room of the meeting; when that is not possible, to the main room.
  async switchRoom(jid) {
    if (this.state !== 'joined' || jid === this.room.jid) return;
    const { connection } = this;
    this.#setState('switching');
    this.call.hangUp();
    this.#leaveRoom('switch_room');
    for (const target of new Set([jid, this.mainRoom])) {
      try {
        await this.#enterRoom(target);
        this.#setState('joined');
        this.emit('participants');
        return;
      } catch (err) {
        if (connection !== this.connection) return; // the connection was lost meanwhile, or the person left
        console.warn('room:', target, err);
        this.emit('notice', { key: 'notice.noRoom' });
      }
    }
    this.#setState('joined'); // rejoin goes on from there
    this.rejoin();
  }

  // rejoin starts from nothing with what the person had typed; participants stay on the screen until the room tells them anew.
  async rejoin() {
    if (this.rejoining || ['ended', 'idle', 'connecting', 'waiting'].includes(this.state)) return;
    this.rejoining = true;
    this.#setState('reconnecting');
    for (let i = 0, wait = 1000; i < REJOIN_ATTEMPTS; i++, wait = Math.min(wait * 2, 20_000)) {
      this.#teardown();
      try {
        await this.#enter(this.mainRoom);
        this.rejoining = false;
        this.#setState('joined');
        this.emit('participants');
        return;
      } catch (err) {
        console.warn('rejoin:', err.message);
        if (this.state !== 'reconnecting' || err instanceof LobbyError) break;
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

  // ---- ourselves ----

  #localTrack(key, track) {
    if (!this.connection || !this.room) return;
    this.room.update({ sources: this.#sourceInfo() });
    this.emit('participants');
    if (track && this.media.sending(key)) this.moderation.unmuted(key);
    this.call.localTrack(key, track);
  }

  // turnOn and turnOff are for the controls: 'a0', 'v0' or 'v1', as far as moderators allow.
  async turnOn(key) {
    if (this.moderation.may(KINDS[key])) await this.media.turn(key, true);
    else this.emit('notice', { key: `notice.moderated.${KINDS[key]}`, params: { name: '' } });
  }

  turnOff(key) {
    return this.media.turn(key, false);
  }

  #sourceInfo() {
    const id = this.room.nick;
    const info = { [`${id}-a0`]: { muted: !this.media.sending('a0') }, [`${id}-v0`]: { muted: !this.media.sending('v0') } };
    if (this.media.sending('v1')) info[`${id}-v1`] = { muted: false, videoType: 'desktop' };
    return info;
  }

  setName(name) {
    this.login.name = name;
    this.room?.update({ name });
    this.emit('participants');
  }

  raiseHand(up) {
    this.room?.update({ hand: up ? Date.now() : 0 });
    this.emit('participants');
  }

  // ---- for the modules ----

  send(stanza) {
    this.connection?.send(stanza);
  }

  // tell sends a command to a component.
  tell(component, payload, type) {
    const to = this.components.get(component);
    if (to) this.send(el('message', { to, type, id: crypto.randomUUID() }, payload));
  }

  // attempt does what the server may refuse; it resolves with whether it did not, and tells the person.
  async attempt(fn) {
    try {
      await fn();
      return true;
    } catch (err) {
      console.warn('refused:', err);
      this.emit('notice', { key: err instanceof IQError && ['forbidden', 'not-allowed'].includes(err.condition) ? 'notice.refused' : 'notice.failed' });
      return false;
    }
  }

  // #componentMessage takes JSON of the components, and their refusals.
  #componentMessage(m) {
    const from = m.attr('from');
    if (![...this.components.values()].includes(from)) return;
    if (m.attr('type') === 'error') return this.emit('notice', { key: 'notice.refused' });
    const json = parseJSON(m);
    if (json) this.emit(`component:${json.type}`, json);
  }

  detail(id) {
    if (!this.details.has(id)) this.details.set(id, { media: new Map(), active: true, quality: null });
    return this.details.get(id);
  }

  withoutMedia() {
    for (const d of this.details.values()) d.media.clear();
    this.emit('participants');
  }
}
