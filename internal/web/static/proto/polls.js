// Polls: the component passes questions and votes on, and gives newcomers all of them.

import { Emitter } from './emitter.js';
import { el, NS } from './xml.js';

export const MAX_ANSWERS = 32; // other clients show no more
const MAX_POLL = 1024; // bytes; what the component takes

// list has {id, sender, senderName, question, answers: [{name, voters: Map(id -> name)}], mine: [bool] | null} in the order of
// creation. Emits poll (poll; a new one) and change.
export class Polls extends Emitter {
  constructor(conference) {
    super();
    this.conference = conference;
    this.list = [];
    conference.on('component:polls', (json) => this.#receive(json));
    conference.on('room', () => ((this.list = []), this.emit('change')));
  }

  get supported() {
    return this.conference.components.has('polls');
  }

  // create asks everybody; false: the text is longer than the component takes.
  create(question, answers) {
    return this.#tell({ type: 'polls', command: 'new-poll', pollId: crypto.randomUUID(), question, answers: answers.map((name) => ({ name })) });
  }

  // vote gives our choice, one boolean for each answer; a second time replaces the first.
  vote(poll, choice) {
    if (!this.#tell({ type: 'polls', command: 'answer-poll', pollId: poll.id, answers: choice })) return false;
    poll.mine = [...choice]; // the component's answer counts it
    return true;
  }

  #tell(command) {
    const text = JSON.stringify(command);
    if (new TextEncoder().encode(text).length >= MAX_POLL) return false;
    this.conference.tell('polls', el('json-message', { xmlns: NS.jitmeet }, text), 'chat');
    return true;
  }

  #receive(json) {
    if (json.command === 'old-polls') for (const p of json.polls ?? []) this.#add(p);
    if (json.command === 'new-poll') this.emit('poll', this.#add(json));
    if (json.command === 'answer-poll') this.#answer(json);
    this.emit('change');
  }

  #add(p) {
    const poll = {
      id: p.pollId,
      sender: p.senderId,
      senderName: p.senderName ?? '',
      question: String(p.question),
      answers: p.answers.slice(0, MAX_ANSWERS).map((a) => ({ name: String(a.name), voters: new Map((a.voters ?? []).map((v) => [v.id, v.name ?? ''])) })),
    };
    const own = poll.answers.map((a) => a.voters.has(this.conference.id));
    poll.mine = own.includes(true) ? own : null;
    this.list = [...this.list.filter((x) => x.id !== poll.id), poll];
    return poll;
  }

  #answer({ pollId, answers, senderId, senderName }) {
    const poll = this.list.find((p) => p.id === pollId);
    if (!poll || !Array.isArray(answers)) return;
    poll.answers.forEach((a, i) => {
      if (answers[i] === true) a.voters.set(senderId, senderName ?? '');
      else a.voters.delete(senderId);
    });
    if (senderId === this.conference.id) poll.mine = poll.answers.map((a) => a.voters.has(senderId));
  }
}
