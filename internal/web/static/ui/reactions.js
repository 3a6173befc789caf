// Reactions: the menu that sends them, and the ones that float up over the tiles.

import { h } from './dom.js';
import { openMenu } from './menu.js';
import { EMOJIS } from '../proto/reactions.js';
import { displayName } from './common.js';
import { t } from '../i18n.js';

const LIFETIME = 4_000; // ms; as long as the animation in meeting.css
const MAX_FLOATING = 30; // more would cost more than they tell

export function reactionsView({ conference }) {
  const element = h('div', { class: 'floating', 'aria-hidden': 'true' });

  function show({ id, emoji }) {
    if (element.children.length >= MAX_FLOATING) return;
    const person = id === conference.id ? conference.self : conference.participants.find((p) => p.id === id);
    const e = h('div', { class: 'floater' }, h('span', {}, emoji), h('small', {}, id === conference.id ? t('meeting.you') : person ? displayName(person) : ''));
    e.style.setProperty('--x', `${10 + Math.floor(Math.random() * 80)}%`);
    element.append(e);
    setTimeout(() => e.remove(), LIFETIME);
  }

  function menu(button) {
    openMenu(button, [{ row: Object.entries(EMOJIS).map(([name, emoji]) => ({ text: emoji, label: t(`reaction.${name}`), onclick: () => conference.reactions.send(name) })) }]);
  }

  return { element, menu, off: conference.reactions.on('reaction', show) };
}
