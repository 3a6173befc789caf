// The panel of breakout rooms: who is where, going there and back; moderators make rooms, name them, send people and close them.

import { calmly, h } from './dom.js';
import { icon } from './icons.js';
import { displayName } from './common.js';
import { confirm, prompt } from './dialogs.js';
import { openMenu } from './menu.js';
import { avatar } from './people.js';
import { panel } from './panel.js';
import { t } from '../i18n.js';

export function breakoutPanel({ conference, onclose }) {
  const { breakout } = conference;
  const list = h('div', { class: 'rooms', tabindex: '0', label: 'breakout.title' });
  const foot = h('div', { class: 'panel-foot' });
  const element = panel('breakout', 'breakout.title', onclose, list, foot);

  const title = (room) => (room.main ? t('breakout.main') : room.name || t('breakout.unnamed'));

  // nextName is the first "Room n" that no room has.
  function nextName() {
    const names = new Set(breakout.groups.map((r) => r.name));
    for (let n = 1; ; n++) if (!names.has(t('breakout.room', { n }))) return t('breakout.room', { n });
  }

  function draw() {
    const focused = document.activeElement?.dataset?.at;
    list.replaceChildren(...(breakout.groups.length > 0 ? breakout.rooms.map(card) : [h('p', { class: 'hint', t: conference.isModerator ? 'breakout.emptyModerator' : 'breakout.empty' })]));
    drawFoot();
    if (focused) element.querySelector(`[data-at="${CSS.escape(focused)}"]`)?.focus();
  }

  function card(room) {
    const here = room.jid === conference.room?.jid;
    const more = conference.isModerator && !room.main && h('button', { class: 'quiet', type: 'button', 'data-at': `more ${room.id}`, 'aria-expanded': 'false', 'aria-label': t('breakout.more', { name: title(room) }), onclick: () => roomMenu(room, more) }, icon('more'));
    const go = !here && h('button', { type: 'button', 'data-at': `go ${room.id}`, 'aria-label': t('breakout.joinNamed', { name: title(room) }), onclick: () => breakout.join(room) }, t(room.main ? 'breakout.back' : 'breakout.join'));
    return h(
      'section',
      { class: `room${here ? ' here' : ''}`, 'data-id': room.id },
      h('header', {}, h('h3', {}, title(room), h('span', { class: 'hint' }, ` ${room.people.length}`)), here ? h('small', { class: 'hint', t: 'breakout.here' }) : go, more),
      room.people.length > 0 && h('ul', { class: 'people' }, room.people.map((p) => person(p, room))),
    );
  }

  function person(p, room) {
    const own = p.jid === conference.connection?.jid;
    const name = displayName(p);
    const send = conference.isModerator && !own && h('button', { class: 'quiet', type: 'button', 'data-at': `send ${p.id}`, 'aria-expanded': 'false', 'aria-label': t('breakout.send', { name }), title: t('breakout.send', { name }), onclick: () => sendMenu(p, room, send) }, icon('arrow'));
    return h('li', { 'data-id': p.id }, avatar(p), h('span', { class: 'person' }, h('b', {}, name + (own ? ` (${t('meeting.you')})` : ''))), send);
  }

  function roomMenu(room, button) {
    openMenu(button, [
      { text: t('breakout.rename'), icon: 'edit', onclick: async () => rename(room, await prompt('breakout.name', 'breakout.rename', room.name)) },
      { text: t('breakout.close'), icon: 'trash', danger: true, onclick: () => breakout.remove(room) },
    ]);
  }

  function rename(room, name) {
    if (name) breakout.rename(room, name);
  }

  function sendMenu(p, from, button) {
    openMenu(button, breakout.rooms.filter((r) => r.id !== from.id).map((r) => ({ text: title(r), icon: 'arrow', onclick: () => breakout.send(p, r) })));
  }

  function drawFoot() {
    const any = breakout.groups.length > 0;
    const button = (id, key, onclick, cls = '') => h('button', { type: 'button', id, class: cls, 'data-at': id, t: key, onclick });
    foot.hidden = !conference.isModerator;
    foot.replaceChildren(
      button('breakout-add', 'breakout.add', () => breakout.add(nextName()), 'primary'),
      ...(any ? [button('breakout-assign', 'breakout.assign', () => breakout.autoAssign()), button('breakout-close', 'breakout.closeAll', async () => (await confirm(t('breakout.confirmClose'), 'breakout.closeAll')) && breakout.closeAll())] : []),
    );
  }

  const redraw = calmly(element, draw);
  const offs = [breakout.on('change', redraw), conference.on('self', redraw), conference.on('room', redraw)];
  draw();
  return { element, off: () => offs.forEach((f) => f()), refresh: draw, focus: () => element.querySelector('button').focus() };
}
