// What happens is said in two ways: toasts, which go by themselves, and requests, which stay until somebody answers them.

import { announce, h } from './dom.js';
import { icon } from './icons.js';
import { t } from '../i18n.js';

const TOAST_TIME = 5_000; // ms
const MAX_TOASTS = 2; // at a time; more would hide the tiles

export function toasts() {
  const element = h('div', { class: 'toasts', 'aria-hidden': 'true' }); // screen readers hear announce()
  const show = (text, kind = '') => {
    if (!text) return;
    announce(text);
    const e = h('div', { class: `toast ${kind}` }, text);
    element.append(e);
    while (element.children.length > MAX_TOASTS) element.firstChild.remove();
    setTimeout(() => e.remove(), TOAST_TIME);
  };
  return { element, show, clear: (kind) => element.querySelectorAll('.' + kind).forEach((e) => e.remove()) };
}

// requests is a list of cards with buttons. Each has a key, and one with the same key takes its place.
export function requests() {
  const element = h('section', { class: 'requests', label: 'requests.label', hidden: true });
  const find = (key) => [...element.children].find((e) => e.dataset.key === key);
  const remove = (key) => {
    find(key)?.remove();
    element.hidden = element.children.length === 0;
  };
  // show asks text; answers are {t, primary, onclick}, and each closes the card.
  const show = (key, text, answers) => {
    const button = (a) => h('button', { class: a.primary ? 'primary' : '', type: 'button', t: a.t, onclick: () => (remove(key), a.onclick?.()) });
    const close = h('button', { class: 'quiet', type: 'button', label: 'panel.close', onclick: () => remove(key) }, icon('close'));
    const card = h('div', { class: 'request', 'data-key': key, role: 'group', 'aria-label': text }, h('p', {}, text), close, h('div', { class: 'buttons end' }, answers.map(button)));
    const old = find(key);
    if (old) old.replaceWith(card);
    else element.append(card);
    element.hidden = false;
    if (!old) announce(text);
  };
  return { element, show, remove };
}

// knocks keeps one card for everybody who waits in the lobby.
export function knocks({ conference, cards }) {
  const { lobby } = conference;
  const draw = () => {
    const all = [...lobby.knockers.values()];
    if (all.length === 0) return cards.remove('knock');
    const names = all.map((k) => k.name || t('meeting.guest'));
    const ids = all.map((k) => k.id);
    if (all.length > 1) {
      return cards.show('knock', t('knock.several', { n: all.length, names: names.join(', ') }), [
        { t: 'knock.look', onclick: () => cards.onlook?.() },
        { t: 'knock.admitAll', primary: true, onclick: () => lobby.admit(ids) },
      ]);
    }
    cards.show('knock', t('knock.one', { name: names[0] }), [
      { t: 'knock.deny', onclick: () => lobby.deny(ids[0]) },
      { t: 'knock.admit', primary: true, onclick: () => lobby.admit(ids) },
    ]);
  };
  draw();
  return lobby.on('change', draw);
}
