// The chat of a meeting: messages to everybody and to one person, answers (XEP-0461), corrections (XEP-0308), retractions by the author
// (XEP-0424) or a moderator (XEP-0425), and reactions to messages (XEP-0444).
//
// Two habits of other Jitsi clients differ from the specifications, and are kept: the message that is answered is named in reply's 'to',
// and each stanza of reactions adds to those before, instead of replacing them. An empty one takes all of a person's back.

import { Emitter } from './emitter.js';
import { nickOf } from './muc.js';
import { el, NS } from './xml.js';

const MAX_REACTION = 16; // UTF-16 units; the longest emoji sequences have fewer
const RETRACTED = 'I retracted a previous message, but it is unsupported by your client.'; // for clients that show nothing else

// A message is {id, room, from, name, to, toName, text, at, own, isPrivate, delayed, replyTo, edited, retracted: '' | 'author' | 'moderator',
// reactions: Map(emoji -> Set of ids)}. Emits message (a new one) and changed (one that is other than it was).
export class Chat extends Emitter {
  constructor(conference) {
    super();
    this.conference = conference;
    this.messages = [];
    conference.on('room', (room) => room.on('message', (m) => this.#receive(m)));
  }

  find(id) {
    return id ? this.messages.findLast((m) => m.id === id) : undefined;
  }

  // send writes to everybody, or to the participant to; replyTo is the message that is answered.
  send(text, { to = null, replyTo = null } = {}) {
    const id = crypto.randomUUID();
    this.#say({ to }, id, el('body', {}, text), replyTo && el('reply', { xmlns: NS.reply, to: replyTo.id, id: replyTo.id }));
    if (to) this.#add({ id, from: this.conference.id, to, text, isPrivate: true, replyTo: replyTo?.id });
    return id;
  }

  edit(message, text) {
    this.#say(message, crypto.randomUUID(), el('body', {}, text), el('replace', { xmlns: NS.correct, id: message.id }));
    if (message.to) this.#change(message, { text, edited: true });
  }

  retract(message) {
    const fallback = el('fallback', { xmlns: NS.fallback, for: NS.retract });
    this.#say(message, crypto.randomUUID(), el('retract', { xmlns: NS.retract, id: message.id }), fallback, el('body', {}, RETRACTED), el('store', { xmlns: NS.hints }));
    if (message.to) this.#change(message, { retracted: 'author' });
  }

  // remove is a moderator's retraction of what somebody else wrote.
  remove(message) {
    const { conference } = this;
    const moderate = el('moderate', { xmlns: NS.moderate, id: message.id }, el('retract', { xmlns: NS.retract }));
    return conference.attempt(() => conference.connection.iq(el('iq', { type: 'set', to: conference.room.jid }, moderate)));
  }

  // react adds a reaction of ours, or takes it back.
  react(message, emoji) {
    const mine = [...message.reactions].filter(([, who]) => who.has(this.conference.id)).map(([e]) => e);
    const reactions = (list) => el('reactions', { xmlns: NS.reactions, id: message.id }, list.map((e) => el('reaction', {}, e)));
    const say = (list) => this.#say(message, crypto.randomUUID(), reactions(list), el('store', { xmlns: NS.hints }));
    const rest = mine.filter((e) => e !== emoji);
    if (rest.length === mine.length) say([emoji]);
    else {
      say([]);
      if (rest.length > 0) say(rest);
    }
    if (!message.isPrivate) return; // the room shows us what we said, a person does not
    if (rest.length === mine.length) this.#react(message, this.conference.id, [emoji]);
    else this.#react(message, this.conference.id, []), this.#react(message, this.conference.id, rest);
  }

  mayChange(message) {
    return message.own && !message.retracted && message.room === this.conference.room?.jid;
  }

  // #say sends to where a message went: to the partner of a private one, or to all.
  #say({ to, isPrivate, from, own }, id, ...children) {
    const { jid } = this.conference.room;
    const partner = to ?? (isPrivate && !own ? from : null);
    this.conference.send(el('message', partner ? { to: `${jid}/${partner}`, type: 'chat', id } : { to: jid, type: 'groupchat', id }, ...children));
  }

  #receive(m) {
    const from = nickOf(m.attr('from'));
    if (m.attr('type') === 'error') return this.conference.emit('notice', { text: m.child('error')?.child('text')?.text ?? '' });
    const reactions = m.child('reactions', NS.reactions);
    if (reactions) return this.#reactions(from, reactions);
    const retract = m.child('retract', NS.retract);
    if (retract) return this.#retracted(from, retract);
    const text = m.child('body')?.text;
    if (!text) return;
    const corrected = this.#authored(from, m.child('replace', NS.correct)?.attr('id'));
    if (corrected) return this.#change(corrected, { text, edited: true });
    const stamp = m.child('delay', NS.delay)?.attr('stamp');
    const reply = m.child('reply'); // stock clients forget its namespace
    this.#add({ id: m.attr('id'), from, text, at: stamp && new Date(stamp), isPrivate: m.attr('type') !== 'groupchat', delayed: Boolean(stamp), replyTo: reply?.attr('id') ?? reply?.attr('to') });
  }

  #add({ id = crypto.randomUUID(), from, to = null, text, at, isPrivate, delayed = false, replyTo = null }) {
    if (delayed && this.messages.some((x) => x.id === id)) return; // history again after a rejoin
    const { conference } = this;
    const message = {
      id,
      room: conference.room.jid,
      from,
      to,
      name: conference.nameOf(from),
      toName: to && conference.nameOf(to),
      text,
      at: at || new Date(),
      own: from === conference.id,
      isPrivate,
      delayed,
      replyTo,
      edited: false,
      retracted: '',
      reactions: new Map(),
    };
    this.messages.push(message);
    this.emit('message', message);
  }

  // #authored is the message with that id, if it is from's own.
  #authored(from, id) {
    const message = this.find(id);
    return message?.from === from ? message : undefined;
  }

  #retracted(from, retract) {
    if (from === '' && retract.child('moderated', NS.moderate)) return this.#change(this.find(retract.attr('id')), { retracted: 'moderator' });
    this.#change(this.#authored(from, retract.attr('id')), { retracted: 'author' });
  }

  #reactions(from, reactions) {
    const list = reactions.all('reaction').map((r) => r.text.trim());
    this.#react(this.find(reactions.attr('id')), from, list.filter((e) => e.length > 0 && e.length <= MAX_REACTION));
  }

  #react(message, from, list) {
    if (!message) return;
    if (list.length === 0) for (const who of message.reactions.values()) who.delete(from);
    for (const emoji of list) message.reactions.set(emoji, (message.reactions.get(emoji) ?? new Set()).add(from));
    this.#change(message, { reactions: new Map([...message.reactions].filter(([, who]) => who.size > 0)) });
  }

  #change(message, change) {
    if (message) this.emit('changed', Object.assign(message, change));
  }
}
