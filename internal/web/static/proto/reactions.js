// Reactions that float over the meeting for a moment: an EndpointMessage to everybody over the bridge channel.

import { Emitter } from './emitter.js';

const NAME = 'endpoint-reaction';
const GATHER = 400; // ms in which clicks become one message
const MAX_AT_ONCE = 10; // reactions of one message that are shown

// EMOJIS by the names that Jitsi clients know.
export const EMOJIS = { like: '👍', clap: '👏', laugh: '😀', surprised: '😮', boo: '🙁', silence: '🤫', love: '💖' };

// Emits reaction ({id, emoji}), own ones included.
export class Reactions extends Emitter {
  constructor(conference) {
    super();
    this.conference = conference;
    this.buffer = [];
    conference.on('endpoint-message', ({ from, msgPayload }) => {
      if (msgPayload?.name !== NAME || !Array.isArray(msgPayload.reactions)) return;
      for (const name of msgPayload.reactions.slice(0, MAX_AT_ONCE)) this.#show(from, name);
    });
  }

  send(name) {
    this.#show(this.conference.id, name);
    this.buffer.push(name);
    if (this.buffer.length > 1) return;
    setTimeout(() => {
      this.conference.call.bridge?.message('', { name: NAME, reactions: this.buffer, timestamp: Date.now() });
      this.buffer = [];
    }, GATHER);
  }

  #show(id, name) {
    if (Object.hasOwn(EMOJIS, name)) this.emit('reaction', { id, emoji: EMOJIS[name] });
  }
}
