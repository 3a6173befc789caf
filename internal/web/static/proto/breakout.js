// Breakout rooms: rooms of a meeting that moderators make. The component tells everybody in all of them who is where; going to one is
// leaving one MUC and entering another on the same connection (Conference.switchRoom).

import { Emitter } from './emitter.js';
import { el, NS } from './xml.js';

const COMMAND = 'features/breakout-rooms/';
const CLOSE_WAIT = 10_000; // ms that people have to leave a room before it is closed

// rooms is a list of {id, jid, name, main, people: [{id, jid, name, role}]}, the main room first. Emits change.
export class Breakout extends Emitter {
  constructor(conference) {
    super();
    this.conference = conference;
    this.rooms = [];
    this.closing = new Map(); // address of a room that is being closed -> timer
    conference.on('component:breakout_rooms', (json) => {
      if (json.event === COMMAND + 'update') this.#update(json);
      if (json.event === COMMAND + 'move-to-room') this.conference.switchRoom(json.roomJid);
    });
    conference.on('left-meeting', () => {
      for (const timer of this.closing.values()) clearTimeout(timer);
      this.closing.clear();
      this.rooms = [];
      this.emit('change');
    });
  }

  get supported() {
    return this.conference.components.has('breakout_rooms');
  }

  get groups() {
    return this.rooms.filter((r) => !r.main);
  }

  get current() {
    return this.rooms.find((r) => r.jid === this.conference.room?.jid);
  }

  // add makes a room; its name is up to the caller.
  add(name) {
    this.#command('add', { subject: name });
  }

  rename(room, name) {
    this.#command('rename', { breakoutRoomJid: room.jid, subject: name });
  }

  // remove closes a room. Those inside are sent to the main room first, and get time to go: stock clients take the end of the room they
  // are in for the end of the meeting.
  remove(room) {
    if (this.closing.has(room.jid)) return;
    for (const p of room.people) this.send(p, this.rooms[0]);
    this.closing.set(room.jid, setTimeout(() => this.#removeNow(room.jid), CLOSE_WAIT));
    this.#removeEmpty();
  }

  #removeEmpty() {
    for (const room of this.groups) if (room.people.length === 0 && this.closing.has(room.jid)) this.#removeNow(room.jid);
  }

  #removeNow(jid) {
    clearTimeout(this.closing.get(jid));
    this.closing.delete(jid);
    this.#command('remove', { breakoutRoomJid: jid });
  }

  send(person, room) {
    this.#command('move-to-room', { participantJid: person.jid, roomJid: room.jid });
  }

  // autoAssign spreads the people of the main room, besides ourselves, over the rooms by chance.
  autoAssign(random = Math.random) {
    const { groups } = this;
    const people = this.rooms.filter((r) => r.main).flatMap((r) => r.people).filter((p) => p.jid !== this.conference.connection.jid);
    if (groups.length === 0) return;
    for (const [i, group] of spread(people, groups.length, random).entries()) for (const p of group) this.send(p, groups[i]);
  }

  join(room) {
    return this.conference.switchRoom(room.jid);
  }

  leave() {
    return this.conference.switchRoom(this.conference.mainRoom);
  }

  closeAll() {
    for (const room of this.groups) this.remove(room);
  }

  #command(type, attrs) {
    this.conference.tell('breakout_rooms', el('breakout_rooms', { xmlns: NS.jitmeet, type: COMMAND + type, ...attrs }));
  }

  #update({ rooms }) {
    this.rooms = Object.values(rooms ?? {})
      .map((r) => ({
        id: r.id,
        jid: r.jid,
        name: r.name ?? '',
        main: Boolean(r.isMainRoom),
        people: Object.entries(r.participants ?? {}).map(([occupant, p]) => ({ id: occupant.split('/')[1] ?? '', jid: p.jid, name: p.displayName ?? '', role: p.role })),
      }))
      .sort((a, b) => b.main - a.main || a.name.localeCompare(b.name, undefined, { numeric: true }));
    this.#removeEmpty();
    this.emit('change');
  }
}

// spread deals a shuffled list into n groups whose sizes differ by one at most.
export function spread(list, n, random = Math.random) {
  const rest = [...list];
  const groups = Array.from({ length: n }, () => []);
  for (let i = 0; rest.length > 0; i++) groups[i % n].push(rest.splice(Math.floor(random() * rest.length), 1)[0]);
  return groups;
}
