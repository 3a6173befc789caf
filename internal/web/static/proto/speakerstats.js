// How long each person was the dominant speaker. Who becomes it tells the component, which tells newcomers what was counted so far;
// from then on everybody counts by the bridge's events.

import { el, NS } from './xml.js';

export class SpeakerStats {
  constructor(conference, now = () => Date.now()) {
    this.conference = conference;
    this.now = now;
    this.#reset();
    conference.on('room', () => this.#reset());
    conference.on('dominant', (id) => this.#dominant(id));
    conference.on('component:speakerstats', ({ users }) => {
      for (const [id, u] of Object.entries(users ?? {})) this.times.set(id, { name: u.displayName ?? '', ms: Number(u.totalDominantSpeakerTime) || 0 });
    });
  }

  #reset() {
    this.times = new Map(); // id -> {name, ms}
    this.speaker = null;
    this.since = 0;
  }

  #dominant(id) {
    this.#count();
    this.speaker = id;
    this.since = this.now();
    if (id !== this.conference.id) return;
    this.conference.tell('speakerstats', el('speakerstats', { xmlns: NS.jitmeet, room: this.conference.room.jid, silence: 'false' }));
  }

  // #count books the time of who has spoken until now.
  #count() {
    if (!this.speaker) return;
    const now = this.now();
    const t = this.times.get(this.speaker) ?? { name: '', ms: 0 };
    this.times.set(this.speaker, { name: this.conference.nameOf(this.speaker) || t.name, ms: t.ms + now - this.since });
    this.since = now;
  }

  // report lists {id, name, ms, speaking, here}: everybody here and everybody who spoke, most talkative first.
  report() {
    this.#count();
    const { conference } = this;
    const here = [conference.self, ...conference.participants].filter(Boolean);
    const rows = here.map((p) => ({ id: p.id, name: p.name, ms: this.times.get(p.id)?.ms ?? 0, speaking: this.speaker === p.id, here: true }));
    for (const [id, t] of this.times) if (!here.some((p) => p.id === id)) rows.push({ id, name: t.name, ms: t.ms, speaking: false, here: false });
    return rows.sort((a, b) => b.ms - a.ms);
  }
}
