import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Breakout, spread } from '../static/proto/breakout.js';
import { Chat } from '../static/proto/chat.js';
import { parseComponents, parseJSON } from '../static/proto/components.js';
import { Emitter } from '../static/proto/emitter.js';
import { Moderation, sends } from '../static/proto/moderation.js';
import { Polls } from '../static/proto/polls.js';
import { Recording } from '../static/proto/recording.js';
import { parseRoomInfo } from '../static/proto/roomconfig.js';
import { SpeakerStats } from '../static/proto/speakerstats.js';
import { el, NS } from '../static/proto/xml.js';

// Meeting is what the modules see of a conference: a room, names, and what they send.
class Meeting extends Emitter {
  constructor() {
    super();
    this.sent = [];
    this.id = 'aaaa1111';
    this.people = { aaaa1111: 'Ada', bbbb2222: 'Ben' };
    this.self = { id: this.id, name: 'Ada', hand: 0 };
    this.participants = [{ id: 'bbbb2222', name: 'Ben', jid: 'b@x/1', role: 'participant', sources: {} }];
    this.components = new Map([['polls', 'polls.x'], ['speakerstats', 'speakerstats.x'], ['breakout_rooms', 'breakout.x'], ['av_moderation', 'avmoderation.x']]);
    this.room = Object.assign(new Emitter(), { jid: 'm@conference.x', nick: this.id });
    this.media = { stop: (key) => this.sent.push(`stop ${key}`) };
    this.isModerator = false;
  }

  enter() {
    this.emit('room', this.room);
  }

  nameOf(id) {
    return this.people[id] ?? '';
  }

  send(stanza) {
    this.sent.push(stanza.toString());
  }

  tell(component, payload, type = '') {
    this.sent.push(`${component} ${type} ${payload}`);
  }

  says(from, attrs, ...children) {
    this.room.emit('message', el('message', { xmlns: NS.client, from: `m@conference.x/${from}`, type: 'groupchat', ...attrs }, ...children));
  }
}

const body = (text) => el('body', { xmlns: NS.client }, text);

test('components and rooms are read from disco#info', () => {
  const query = el('query', { xmlns: NS.discoInfo }, el('identity', { xmlns: NS.discoInfo, category: 'server', type: 'im', name: 'x' }), el('identity', { xmlns: NS.discoInfo, category: 'component', type: 'polls', name: 'polls.x' }));
  assert.deepEqual([...parseComponents(query)], [['polls', 'polls.x']]);
  const field = (name, value) => el('field', { xmlns: NS.dataForms, var: name }, el('value', {}, value));
  const room = el(
    'query',
    { xmlns: NS.discoInfo },
    el('feature', { var: 'muc_membersonly' }),
    el('x', { xmlns: NS.dataForms, type: 'result' }, field('muc#roominfo_lobbyroom', 'm@lobby.x'), field('muc#roominfo_created_timestamp', '17')),
  );
  assert.deepEqual(parseRoomInfo(room), { locked: false, membersOnly: true, lobby: 'm@lobby.x', breakout: false, mainRoom: '', created: 17 });
});

test('JSON of messages is taken only if it is an object with a type', () => {
  const message = (text) => el('message', {}, el('json-message', { xmlns: NS.jitmeet }, text));
  assert.deepEqual(parseJSON(message('{"type":"polls"}')), { type: 'polls' });
  for (const bad of ['', '{', 'null', '[]', '7', '{"type":7}']) assert.equal(parseJSON(message(bad)), null, bad);
  assert.equal(parseJSON(el('message', {}, body('{"type":"polls"}'))), null);
});

test('chat: only the author corrects and retracts, and moderators through the room', () => {
  const m = new Meeting();
  const chat = new Chat(m);
  m.enter();
  m.says('bbbb2222', { id: 'm1' }, body('helo'));
  m.says('aaaa1111', { id: 'x1' }, body('hi'), el('replace', { xmlns: NS.correct, id: 'm1' }));
  assert.deepEqual(chat.messages.map((x) => x.text), ['helo', 'hi'], 'a correction by somebody else is a message of its own');
  m.says('bbbb2222', { id: 'm2' }, body('hello'), el('replace', { xmlns: NS.correct, id: 'm1' }));
  assert.deepEqual([chat.messages[0].text, chat.messages[0].edited, chat.messages.length], ['hello', true, 2]);
  m.says('aaaa1111', {}, el('retract', { xmlns: NS.retract, id: 'm1' }));
  m.says('aaaa1111', {}, el('retract', { xmlns: NS.retract, id: 'm1' }, el('moderated', { xmlns: NS.moderate, by: 'm@conference.x/aaaa1111' })));
  assert.equal(chat.messages[0].retracted, '', 'only the room itself speaks for moderators');
  m.room.emit('message', el('message', { from: 'm@conference.x', type: 'groupchat' }, el('retract', { xmlns: NS.retract, id: 'm1' }, el('moderated', { xmlns: NS.moderate }))));
  assert.equal(chat.messages[0].retracted, 'moderator');
  m.says('aaaa1111', {}, el('retract', { xmlns: NS.retract, id: 'x1' }), body('fallback'));
  assert.deepEqual([chat.messages[1].retracted, chat.messages.length], ['author', 2]);
});

test('chat: private messages are shown to who wrote them, answers name what they answer in both ways', () => {
  const m = new Meeting();
  const chat = new Chat(m);
  m.enter();
  const id = chat.send('psst', { to: 'bbbb2222' });
  assert.match(m.sent[0], /to='m@conference.x\/bbbb2222' type='chat'/);
  assert.deepEqual([chat.messages[0].own, chat.messages[0].toName], [true, 'Ben']);
  m.says('bbbb2222', { id: 'p2', type: 'chat' }, body('yes?'), el('reply', { to: id }));
  assert.equal(chat.messages[1].replyTo, id, 'as lib-jitsi-meet writes it');
  chat.react(chat.messages[1], '👍');
  assert.match(m.sent[1], /to='m@conference.x\/bbbb2222' type='chat'.*<reaction>👍</);
  assert.deepEqual([...chat.messages[1].reactions.keys()], ['👍']);
});

test('chat: reactions add up, and an empty stanza takes a person\'s back', () => {
  const m = new Meeting();
  const chat = new Chat(m);
  m.enter();
  m.says('aaaa1111', { id: 'm1' }, body('news'));
  const react = (from, ...list) => m.says(from, {}, el('reactions', { xmlns: NS.reactions, id: 'm1' }, list.map((e) => el('reaction', {}, e))));
  react('bbbb2222', '👍');
  react('bbbb2222', '🎉', 'a text that is far too long to be one emoji');
  react('aaaa1111', '👍');
  const seen = () => [...chat.messages[0].reactions].map(([e, who]) => `${e}${who.size}`).join(' ');
  assert.equal(seen(), '👍2 🎉1');
  react('bbbb2222');
  assert.equal(seen(), '👍1');
});

test('history that comes again is not shown again', () => {
  const m = new Meeting();
  const chat = new Chat(m);
  m.enter();
  const delay = () => el('delay', { xmlns: NS.delay, stamp: '2026-01-02T03:04:05Z' });
  m.says('cccc3333', { id: 'h1' }, body('old'), delay());
  m.says('cccc3333', { id: 'h1' }, body('old'), delay());
  assert.equal(chat.messages.length, 1);
});

test('polls: history, votes that are changed, and a limit', () => {
  const m = new Meeting();
  const polls = new Polls(m);
  m.emit('component:polls', { command: 'old-polls', polls: [{ pollId: 'p', senderId: 'cccc3333', senderName: 'Cleo', question: 'Q', answers: [{ name: 'a', voters: [{ id: 'aaaa1111', name: 'Ada' }] }, { name: 'b' }] }] });
  const [p] = polls.list;
  assert.deepEqual(p.mine, [true, false]);
  const votes = (from, answers) => m.emit('component:polls', { command: 'answer-poll', pollId: 'p', senderId: from, senderName: from, answers });
  votes('bbbb2222', [true, true]);
  votes('bbbb2222', [false, true]);
  votes('bbbb2222', 'nonsense');
  assert.deepEqual(p.answers.map((a) => [...a.voters.keys()]), [['aaaa1111'], ['bbbb2222']]);
  assert.equal(polls.create('x'.repeat(1100), ['a', 'b']), false);
  assert.equal(polls.create('short', ['a', 'b']), true);
  assert.match(m.sent.at(-1), /^polls chat <json-message/);
});

test('moderation: who may switch on what', () => {
  const m = new Meeting();
  const moderation = new Moderation(m);
  m.enter();
  const event = (json) => m.emit('component:av_moderation', { room: 'm@conference.x', mediaType: 'audio', ...json });
  event({ enabled: true, actor: 'm@conference.x/bbbb2222' });
  assert.deepEqual([moderation.may('audio'), moderation.may('video')], [false, true]);
  event({ approved: true, room: 'other@conference.x' });
  assert.equal(moderation.may('audio'), false, 'another room');
  event({ approved: true });
  assert.equal(moderation.may('audio'), true);
  event({ removed: true });
  assert.deepEqual([moderation.may('audio'), m.sent], [false, ['stop a0']]);
  event({ whitelists: { audio: ['m@conference.x/bbbb2222'] } });
  assert.equal(moderation.mayOther('audio', m.participants[0]), true);
  event({ enabled: true, mediaType: 'hologram' });
  event({ enabled: false });
  assert.equal(moderation.may('audio'), true);
});

test('what somebody sends is read from the sources', () => {
  const p = { sources: { 'x-a0': { muted: false }, 'x-v0': { muted: true, videoType: 'camera' }, 'x-v1': { muted: false, videoType: 'desktop' } } };
  assert.deepEqual(['audio', 'video', 'desktop'].map((kind) => sends(p, kind)), [true, false, true]);
});

test('breakout rooms: people are spread evenly, and come back before a room is closed', () => {
  const groups = spread([1, 2, 3, 4, 5, 6, 7], 3, () => 0);
  assert.deepEqual(groups.map((g) => g.length), [3, 2, 2]);
  assert.deepEqual(groups.flat().sort(), [1, 2, 3, 4, 5, 6, 7]);
  const m = new Meeting();
  const breakout = new Breakout(m);
  const rooms = {
    g: { id: 'g', jid: 'g@breakout.x', name: 'G', participants: { 'g@breakout.x/bbbb2222': { jid: 'b@x/1', displayName: 'Ben' } } },
    m: { id: 'm', jid: 'm@conference.x', isMainRoom: true, participants: {} },
  };
  m.emit('component:breakout_rooms', { event: 'features/breakout-rooms/update', rooms });
  breakout.remove(breakout.groups[0]);
  assert.match(m.sent[0], /move-to-room' participantJid='b@x\/1' roomJid='m@conference.x'/);
  assert.equal(m.sent.length, 1, 'not before the room is empty');
  rooms.g.participants = {};
  m.emit('component:breakout_rooms', { event: 'features/breakout-rooms/update', rooms });
  assert.match(m.sent[1], /remove' breakoutRoomJid='g@breakout.x'/);
});

test('speaking times go on from what the server counted', () => {
  let now = 1000;
  const m = new Meeting();
  const stats = new SpeakerStats(m, () => now);
  m.enter();
  m.emit('component:speakerstats', { users: { cccc3333: { displayName: 'Cleo', totalDominantSpeakerTime: 5000 } } });
  m.emit('dominant', 'aaaa1111');
  assert.match(m.sent[0], /^speakerstats {2}<speakerstats xmlns='http:\/\/jitsi.org\/jitmeet' room='m@conference.x' silence='false'/);
  now += 2000;
  m.emit('dominant', 'bbbb2222');
  now += 500;
  assert.deepEqual(stats.report().map((r) => [r.name, r.ms, r.here]), [['Cleo', 5000, false], ['Ada', 2000, true], ['Ben', 500, true]]);
});

test('recordings begin and end once', () => {
  const m = new Meeting();
  const recording = new Recording(m);
  const seen = [];
  recording.on('change', (kind, on) => seen.push(`${kind} ${on}`));
  const status = (mode, value) => m.emit('focus', el('presence', {}, el('jibri-recording-status', { xmlns: NS.jibri, recording_mode: mode, status: value })));
  for (const value of ['pending', 'on', 'on', 'off', 'off']) status('file', value);
  status('stream', 'on');
  m.emit('component:room_metadata', { metadata: { recording: { isTranscribingEnabled: true } } });
  m.enter();
  assert.deepEqual(seen, ['file true', 'file false', 'stream true', 'transcript true', 'stream false', 'transcript false']);
});
