// The start page: name a meeting, or take one of the last.

import { h, setText } from './dom.js';
import { icon } from './icons.js';
import { brand, languageSwitch } from './common.js';
import * as settings from '../settings.js';

// A room name becomes the localpart of an address (RFC 7622 §3.3) and one segment of a path.
const VALID = /^[\p{L}\p{N}][\p{L}\p{N}._-]*$/u;

export function normalise(name) {
  return name.trim().toLowerCase().normalize('NFKC').replace(/\s+/g, '-');
}

// roomOf gives the name of the meeting in a path, '' for the start page, null for what can be no name.
export function roomOf(path) {
  try {
    const room = normalise(decodeURIComponent(path.slice(1)));
    return room === '' || VALID.test(room) ? room : null;
  } catch {
    return null; // no UTF-8
  }
}

// homeView says key, if there is one, as what is wrong.
export function homeView(key) {
  const error = h('p', { class: 'error', role: 'alert', hidden: !key, t: key });
  const input = h('input', { id: 'room', name: 'room', required: true, maxlength: '100', autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false', autofocus: true });
  const form = h(
    'form',
    {
      class: 'home-form',
      onsubmit: (ev) => {
        ev.preventDefault();
        const room = normalise(input.value);
        if (!VALID.test(room)) {
          setText(error, 'home.invalid');
          error.hidden = false;
          return input.focus();
        }
        location.href = '/' + encodeURIComponent(room);
      },
    },
    h('label', { for: 'room', t: 'home.room' }),
    h('div', { class: 'joined' }, input, h('button', { class: 'primary', type: 'submit' }, h('span', { t: 'home.start' }), icon('arrow'))),
    error,
    h('p', { class: 'hint', t: 'home.hint' }),
  );
  const rooms = settings.recent();
  const list =
    rooms.length > 0 &&
    h(
      'section',
      { class: 'recent' },
      h('h2', { t: 'home.recent' }),
      h('ul', {}, rooms.map((r) => h('li', {}, h('a', { href: '/' + encodeURIComponent(r) }, r)))),
    );
  return h(
    'div',
    { class: 'plain home' },
    h('header', { class: 'top' }, brand(), languageSwitch()),
    h('main', {}, h('h1', { t: 'app.tagline' }), form, list),
  );
}
