// Whether the meeting is recorded, streamed or written down: the focus says the first two in its presence, the room's metadata the last.

import { Emitter } from './emitter.js';
import { NS } from './xml.js';

// running is a Set of 'file', 'stream' and 'transcript'. Emits change (kind, on).
export class Recording extends Emitter {
  constructor(conference) {
    super();
    this.running = new Set();
    conference.on('focus', (presence) => {
      const s = presence.child('jibri-recording-status', NS.jibri);
      if (!s) return;
      const mode = s.attr('recording_mode') === 'stream' ? 'stream' : 'file';
      this.#set(mode, s.attr('status') === 'on');
    });
    conference.on('component:room_metadata', ({ metadata }) => {
      this.#set('transcript', Boolean(metadata?.recording?.isTranscribingEnabled));
    });
    conference.on('room', () => [...this.running].forEach((kind) => this.#set(kind, false)));
  }

  #set(kind, on) {
    if (this.running.has(kind) === on) return;
    if (on) this.running.add(kind);
    else this.running.delete(kind);
    this.emit('change', kind, on);
  }
}
