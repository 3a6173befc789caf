// The side panels: chat and people.

import { h } from './dom.js';
import { icon } from './icons.js';
import { displayName, hue, initials } from './common.js';
import { language, t } from '../i18n.js';

const MAX_MESSAGE = 4000; // characters, well below what servers take in a stanza

// links turns http(s) addresses of a text into anchors; everything else stays text.
export function links(text) {
  return text.split(/(https?:\/\/[^\s<>"']+[^\s<>"'.,;:!?)\]])/g).map((part, i) => {
    if (i % 2 === 0) return part;
    return h('a', { href: part, target: '_blank', rel: 'noopener noreferrer nofollow' }, part);
  });
}

export function chatPanel({ conference, onclose }) {
  const empty = h('p', { class: 'hint', t: 'chat.empty' });
  const log = h('div', { class: 'chat-log', role: 'log', 'aria-live': 'polite', label: 'chat.title', tabindex: '0' }, empty);
  const input = h('textarea', { id: 'chat-input', rows: '1', maxlength: String(MAX_MESSAGE), placeholder: 'chat.placeholder', label: 'chat.placeholder' });
  const send = () => {
    const text = input.value.trim();
    if (!text) return;
    conference.sendChat(text);
    input.value = '';
    input.focus();
  };
  input.addEventListener('keydown', (ev) => {
    if (ev.key !== 'Enter' || ev.shiftKey || ev.isComposing) return;
    ev.preventDefault();
    send();
  });
  const form = h('form', { class: 'chat-form', onsubmit: (ev) => (ev.preventDefault(), send()) }, input, h('button', { class: 'primary', type: 'submit', label: 'chat.send' }, icon('send')));
  let last = null;

  function add(m) {
    empty.hidden = true;
    const name = m.own ? t('meeting.you') : m.name || `${t('meeting.guest')} ${m.from.slice(0, 4)}`;
    const time = m.at.toLocaleTimeString(language(), { hour: '2-digit', minute: '2-digit' });
    const follows = last && last.from === m.from && last.isPrivate === m.isPrivate && m.at - last.at < 120_000;
    last = m;
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
    const head = h('div', { class: 'message-head' }, h('b', {}, name), h('time', { datetime: m.at.toISOString() }, time), m.isPrivate && h('em', { t: 'chat.private' }));
    if (!m.own) head.style.setProperty('--hue', hue(m.from));
    log.append(h('article', { class: `message${m.own ? ' own' : ''}${follows ? ' follows' : ''}` }, follows ? null : head, h('p', {}, links(m.text))));
    if (atEnd || m.own) log.scrollTop = log.scrollHeight;
  }

  for (const m of conference.messages) add(m);
  const element = panel('chat', 'chat.title', onclose, log, form);
  return { element, add, focus: () => (input.focus(), (log.scrollTop = log.scrollHeight)) };
}

export function peoplePanel({ conference, media, onclose }) {
  const list = h('ul', { class: 'people' });
  const element = panel('people', 'people.title', onclose, list);

  function row(p, own) {
    const name = displayName(p);
    const audio = own ? media.sending('a0') : !(p.sources[`${p.id}-a0`]?.muted ?? true);
    const video = own ? media.sending('v0') : Object.entries(p.sources).some(([n, s]) => n.startsWith(`${p.id}-v`) && s.videoType !== 'desktop' && !s.muted);
    const avatar = h('span', { class: 'avatar small', 'aria-hidden': 'true' }, initials(name));
    avatar.style.setProperty('--hue', hue(p.id));
    const moderates = !own && conference.isModerator;
    const button = (key, iconName, onclick) => h('button', { class: 'quiet', type: 'button', 'aria-label': t(key, { name }), title: t(key, { name }), onclick }, icon(iconName));
    const mic = h('span', { class: `badge${audio ? '' : ' off'}` }, icon(audio ? 'mic' : 'micOff'));
    return h(
      'li',
      { 'data-id': p.id },
      avatar,
      h('span', { class: 'person' }, h('b', {}, name + (own ? ` (${t('meeting.you')})` : '')), p.role === 'moderator' && h('small', {}, t('meeting.moderator'))),
      p.hand > 0 && h('span', { class: 'badge hand', role: 'img', label: 'meeting.hand' }, icon('hand')),
      h('span', { class: `badge${video ? '' : ' off'}` }, icon(video ? 'camera' : 'cameraOff')),
      moderates && audio ? button('people.mute', 'mic', () => conference.mute(p.id)) : mic,
      moderates && button('people.remove', 'remove', () => confirm(t('people.confirm', { name })) && conference.kick(p.id)),
    );
  }

  // refresh makes only those rows anew that say something else: a row that is replaced between press and release of the mouse takes
  // the click with it.
  const rows = new Map(); // id -> {text, element}
  function refresh() {
    const others = [...conference.participants].sort((a, b) => (a.hand || Infinity) - (b.hand || Infinity) || displayName(a).localeCompare(displayName(b)));
    const all = [...(conference.self ? [[conference.self, true]] : []), ...others.map((p) => [p, false])];
    const ids = new Set(all.map(([p]) => p.id));
    for (const [id, { element: e }] of rows) if (!ids.has(id)) (e.remove(), rows.delete(id));
    all.forEach(([p, own], i) => {
      const text = JSON.stringify([p.name, p.role, p.hand, p.sources, own && [media.sending('a0'), media.sending('v0')], conference.isModerator, language()]);
      let known = rows.get(p.id);
      if (known?.text !== text) {
        const next = { text, element: row(p, own) };
        const label = known?.element.contains(document.activeElement) ? document.activeElement.getAttribute('aria-label') : null;
        known?.element.replaceWith(next.element);
        if (label) [...next.element.querySelectorAll('button')].find((b) => b.getAttribute('aria-label') === label)?.focus();
        rows.set(p.id, (known = next));
      }
      if (list.children[i] !== known.element) list.insertBefore(known.element, list.children[i] ?? null);
    });
  }

  return { element, refresh, focus: () => element.querySelector('button').focus() };
}

function panel(id, title, onclose, ...children) {
  return h(
    'aside',
    { class: 'panel', id: `panel-${id}`, 'aria-labelledby': `panel-${id}-title` },
    h('header', {}, h('h2', { id: `panel-${id}-title`, t: title }), h('button', { class: 'quiet', type: 'button', label: 'panel.close', onclick: onclose }, icon('close'))),
    ...children,
  );
}
