// The chat panel: messages with their answers and reactions, and the field in which one writes, to everybody or to one person.

import { h } from './dom.js';
import { icon } from './icons.js';
import { displayName, hue } from './common.js';
import { confirm } from './dialogs.js';
import { openMenu } from './menu.js';
import { panel } from './panel.js';
import { language, t } from '../i18n.js';

const MAX_MESSAGE = 4000; // characters, well below what servers take in a stanza
const FOLLOWS = 120_000; // ms in which messages of one person stand under one name
const QUOTE = 80; // characters of a message that is answered
const EMOJIS = ['👍', '❤️', '😂', '😮', '😢', '🎉']; // offered for messages

// links turns http(s) addresses of a text into anchors; everything else stays text.
export function links(text) {
  return text.split(/(https?:\/\/[^\s<>"']+[^\s<>"'.,;:!?)\]])/g).map((part, i) => {
    if (i % 2 === 0) return part;
    return h('a', { href: part, target: '_blank', rel: 'noopener noreferrer nofollow' }, part);
  });
}

const author = (m) => (m.own ? t('meeting.you') : displayName({ id: m.from, name: m.name }));

export function chatPanel({ conference, onclose }) {
  const { chat } = conference;
  const empty = h('p', { class: 'hint', t: 'chat.empty' });
  const log = h('div', { class: 'chat-log', role: 'log', 'aria-live': 'polite', label: 'chat.title', tabindex: '0' }, empty);
  const compose = composer({ conference });
  const shown = new Map(); // message -> {element, follows}
  let last = null;

  function add(m) {
    empty.hidden = true;
    const follows = last && last.from === m.from && last.to === m.to && last.isPrivate === m.isPrivate && !m.replyTo && m.at - last.at < FOLLOWS;
    last = m;
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
    const element = draw(m, follows);
    shown.set(m, { element, follows });
    log.append(element);
    if (atEnd || m.own) log.scrollTop = log.scrollHeight;
  }

  function change(m) {
    const old = shown.get(m);
    if (!old) return;
    const focused = old.element.contains(document.activeElement);
    const element = draw(m, old.follows);
    old.element.replaceWith(element);
    shown.set(m, { ...old, element });
    if (focused) element.querySelector('button')?.focus();
  }

  function draw(m, follows) {
    const time = m.at.toLocaleTimeString(language(), { hour: '2-digit', minute: '2-digit' });
    const whom = m.isPrivate && (m.own ? t('chat.privateTo', { name: displayName({ id: m.to, name: m.toName }) }) : t('chat.private'));
    const head = h('div', { class: 'message-head' }, h('b', {}, author(m)), h('time', { datetime: m.at.toISOString() }, time), whom && h('em', {}, whom));
    if (!m.own) head.style.setProperty('--hue', hue(m.from));
    const text = m.retracted ? h('p', { class: 'gone' }, t(m.retracted === 'moderator' ? 'chat.removed' : 'chat.retracted')) : h('p', {}, links(m.text), m.edited && h('small', {}, ` ${t('chat.edited')}`));
    const more = h('button', { class: 'quiet more', type: 'button', label: 'chat.more', 'aria-haspopup': 'menu', 'aria-expanded': 'false', onclick: () => menu(m, more) }, icon('more'));
    const element = h('article', { class: `message${m.own ? ' own' : ''}${follows ? ' follows' : ''}${m.isPrivate ? ' private' : ''}`, 'data-id': m.id });
    element.append(...[follows ? null : head, quote(m), text, reactions(m), m.retracted ? null : more].filter(Boolean));
    return element;
  }

  function quote(m) {
    const original = chat.find(m.replyTo);
    if (!original) return null;
    const text = original.retracted ? t('chat.retracted') : original.text.slice(0, QUOTE);
    return h('blockquote', {}, h('b', {}, author(original)), ` ${text}`);
  }

  function reactions(m) {
    if (m.reactions.size === 0 || m.retracted) return null;
    const names = (who) => [...who].map((id) => (id === conference.id ? t('meeting.you') : displayName({ id, name: conference.nameOf(id) }))).join(', ');
    const pill = ([emoji, who]) => {
      const mine = who.has(conference.id);
      const label = `${emoji} ${names(who)}`;
      return h('button', { class: 'pill', type: 'button', 'aria-pressed': String(mine), 'aria-label': label, title: label, onclick: () => chat.react(m, emoji) }, `${emoji} ${who.size}`);
    };
    return h('div', { class: 'pills' }, [...m.reactions].map(pill));
  }

  function menu(m, button) {
    const partner = conference.participants.some((p) => p.id === m.from);
    const mine = chat.mayChange(m);
    const remove = async (how, text) => (await confirm(t(text), 'chat.delete')) && how();
    openMenu(button, [
      { row: EMOJIS.map((emoji) => ({ text: emoji, label: t('chat.react', { emoji }), checked: m.reactions.get(emoji)?.has(conference.id) ?? false, onclick: () => chat.react(m, emoji) })) },
      { text: t('chat.reply'), icon: 'reply', onclick: () => compose.reply(m) },
      !m.own && partner && { text: t('people.write', { name: author(m) }), icon: 'chat', onclick: () => compose.to(m.from) },
      mine && { text: t('chat.edit'), icon: 'edit', onclick: () => compose.edit(m) },
      mine && { text: t('chat.delete'), icon: 'trash', danger: true, onclick: () => remove(() => chat.retract(m), 'chat.confirmRetract') },
      !m.own && !m.isPrivate && conference.isModerator && { text: t('chat.delete'), icon: 'trash', danger: true, onclick: () => remove(() => chat.remove(m), 'chat.confirmRemove') },
    ]);
  }

  for (const m of chat.messages) add(m);
  const off = chat.on('changed', change);
  const element = panel('chat', 'chat.title', onclose, log, compose.element);
  return { element, add, off, refresh: compose.refresh, writeTo: compose.to, focus: () => (compose.focus(), (log.scrollTop = log.scrollHeight)) };
}

// composer is where one writes; what is answered or changed stands above it.
function composer({ conference }) {
  const input = h('textarea', { id: 'chat-input', rows: '1', maxlength: String(MAX_MESSAGE), placeholder: 'chat.placeholder', label: 'chat.placeholder' });
  const to = h('select', { id: 'chat-to', label: 'chat.to' });
  const about = h('div', { class: 'about', hidden: true });
  let subject = null; // {message, edit}

  function concern(message, edit) {
    subject = message && { message, edit };
    about.hidden = !message;
    if (!message) return;
    const text = t(edit ? 'chat.editing' : 'chat.replying', { name: author(message) });
    const cancel = h('button', { class: 'quiet', type: 'button', label: 'ask.cancel', onclick: () => (edit && (input.value = ''), concern(null), input.focus()) }, icon('close'));
    about.replaceChildren(h('span', {}, h('b', {}, text), ` ${message.text.slice(0, QUOTE)}`), cancel);
  }

  function send() {
    const text = input.value.trim();
    if (!text) return;
    if (subject?.edit) conference.chat.edit(subject.message, text);
    else conference.chat.send(text, { to: to.value || null, replyTo: subject?.message });
    input.value = '';
    concern(null);
    input.focus();
  }

  // refresh lists who is there; somebody who has left is written to no more. A list that is the same stays: it may be open.
  let listed = null;
  function refresh() {
    const now = JSON.stringify([language(), conference.participants.map((p) => [p.id, p.name])]);
    if (now === listed) return;
    listed = now;
    const { value } = to;
    const options = conference.participants.map((p) => h('option', { value: p.id }, t('chat.onlyTo', { name: displayName(p) })));
    to.replaceChildren(h('option', { value: '' }, t('chat.everybody')), ...options);
    to.value = conference.participants.some((p) => p.id === value) ? value : '';
    to.classList.toggle('private', Boolean(to.value));
  }

  function address(id) {
    refresh();
    to.value = id ?? '';
    to.classList.toggle('private', Boolean(to.value));
    input.focus();
  }

  to.addEventListener('change', () => to.classList.toggle('private', Boolean(to.value)));
  input.addEventListener('keydown', (ev) => {
    if (ev.key !== 'Enter' || ev.shiftKey || ev.isComposing) return;
    ev.preventDefault();
    send();
  });
  const form = h('form', { class: 'chat-form', onsubmit: (ev) => (ev.preventDefault(), send()) }, input, h('button', { class: 'primary', type: 'submit', label: 'chat.send' }, icon('send')));
  refresh();
  return {
    element: h('div', { class: 'composer' }, about, to, form),
    refresh,
    focus: () => input.focus(),
    to: (id) => (concern(null), address(id)),
    reply(m) {
      concern(m, false);
      address(m.isPrivate ? (m.own ? m.to : m.from) : '');
    },
    edit(m) {
      concern(m, true);
      input.value = m.text;
      address(m.to ?? '');
    },
  };
}
