// The people panel: who is here, who waits in the lobby, whose hand is up and in which order, and what moderators may do.

import { h, setText } from './dom.js';
import { icon } from './icons.js';
import { displayName, hue, initials } from './common.js';
import { confirm } from './dialogs.js';
import { openMenu } from './menu.js';
import { panel } from './panel.js';
import { KINDS, sends } from '../proto/moderation.js';
import { language, t } from '../i18n.js';

const ICON = { audio: 'mic', video: 'camera', desktop: 'screen' };

export function avatar(p) {
  const e = h('span', { class: 'avatar small', 'aria-hidden': 'true' }, initials(displayName(p)));
  e.style.setProperty('--hue', hue(p.id));
  return e;
}

export function peoplePanel({ conference, media, onclose, onwrite, onmoderation }) {
  const { moderation, lobby } = conference;
  const waiting = h('section', { class: 'waiting', hidden: true });
  const list = h('ul', { class: 'people' });
  const copied = h('span', { t: 'meeting.copy' });
  const foot = h('div', { class: 'panel-foot' });
  const element = panel('people', 'people.title', onclose, waiting, list, foot);

  const named = (key, iconName, name, onclick) => h('button', { class: 'quiet', type: 'button', 'aria-label': t(key, { name }), title: t(key, { name }), onclick }, icon(iconName));

  function row(p, own, order) {
    const name = displayName(p);
    const audio = own ? media.sending('a0') : sends(p, 'audio');
    const video = own ? media.sending('v0') : sends(p, 'video');
    const moderates = !own && conference.isModerator;
    const more = !own && named('people.more', 'more', name, () => menu(p, more));
    if (more) more.setAttribute('aria-expanded', 'false');
    let mic = h('span', { class: `badge${audio ? '' : ' off'}` }, icon(audio ? 'mic' : 'micOff'));
    if (moderates && audio) mic = named('people.mute', 'mic', name, () => moderation.mute(p.id));
    else if (moderates && !moderation.mayOther('audio', p)) mic = named('people.allow.audio', 'micLocked', name, () => moderation.allow(p.id, 'audio'));
    return h(
      'li',
      { 'data-id': p.id },
      avatar(p),
      h('span', { class: 'person' }, h('b', {}, name + (own ? ` (${t('meeting.you')})` : '')), p.role === 'moderator' && h('small', {}, t('meeting.moderator'))),
      order < Infinity && h('span', { class: 'badge hand', role: 'img', 'aria-label': t('people.hand', { n: order }), title: t('people.hand', { n: order }) }, icon('hand'), h('b', {}, String(order))),
      h('span', { class: `badge${video ? '' : ' off'}` }, icon(video ? 'camera' : 'cameraOff')),
      mic,
      more,
    );
  }

  function menu(p, button) {
    const name = displayName(p);
    const moderates = conference.isModerator;
    const kinds = (fn) => (moderates ? KINDS.map(fn) : []);
    openMenu(button, [
      { text: t('people.write', { name }), icon: 'chat', onclick: () => onwrite(p.id) },
      ...kinds((kind) => sends(p, kind) && { text: t(`people.stop.${kind}`), icon: ICON[kind] + 'Off', onclick: () => moderation.mute(p.id, kind) }),
      ...kinds((kind) => !moderation.mayOther(kind, p) && { text: t(`people.allowItem.${kind}`), icon: ICON[kind], onclick: () => moderation.allow(p.id, kind) }),
      ...kinds((kind) => moderation.lists[kind].includes(p.id) && p.role !== 'moderator' && { text: t(`people.forbid.${kind}`), icon: ICON[kind] + 'Off', onclick: () => moderation.allow(p.id, kind, false) }),
      moderates && p.role !== 'moderator' && { text: t('people.grant'), icon: 'shield', onclick: async () => (await confirm(t('people.confirmGrant', { name }), 'people.grant')) && moderation.grant(p.id) },
      moderates && { text: t('people.remove'), icon: 'remove', danger: true, onclick: async () => (await confirm(t('people.confirm', { name }), 'people.remove')) && moderation.kick(p.id) },
    ]);
  }

  function drawWaiting() {
    const all = [...lobby.knockers.values()];
    waiting.hidden = all.length === 0;
    waiting.replaceChildren();
    if (waiting.hidden) return;
    const person = (k) => {
      const name = displayName(k);
      return h('li', {}, avatar(k), h('span', { class: 'person' }, h('b', {}, name)), named('people.deny', 'close', name, () => lobby.deny(k.id)), named('people.admit', 'check', name, () => lobby.admit([k.id])));
    };
    const admitAll = all.length > 1 && h('button', { type: 'button', t: 'knock.admitAll', onclick: () => lobby.admit(all.map((k) => k.id)) });
    waiting.append(h('header', {}, h('h3', { t: 'people.waiting' }), admitAll || ''), h('ul', { class: 'people' }, all.map(person)));
  }

  async function copy() {
    await navigator.clipboard?.writeText(location.origin + location.pathname).catch(() => {});
    setText(copied, 'meeting.copied');
    setTimeout(() => setText(copied, 'meeting.copy'), 3_000);
  }

  // The foot changes only with our role: a button that is drawn anew would lose the focus.
  let drawn = null;
  function drawFoot() {
    if (drawn === conference.isModerator) return;
    drawn = conference.isModerator;
    const muteAll = h('button', { type: 'button', id: 'mute-all', t: 'people.muteAll', onclick: () => moderation.muteAll() });
    const settings = h('button', { type: 'button', id: 'moderation', t: 'security.title', onclick: onmoderation });
    foot.replaceChildren(h('button', { type: 'button', onclick: copy }, icon('link'), copied), ...(drawn ? [muteAll, settings] : []));
  }

  // refresh makes only those rows anew that say something else: a row that is replaced between press and release of the mouse takes
  // the click with it.
  const rows = new Map(); // id -> {text, element}
  function refresh() {
    const { hands } = conference;
    const order = (p) => hands.indexOf(p.id) + 1 || Infinity;
    const others = [...conference.participants].sort((a, b) => order(a) - order(b) || displayName(a).localeCompare(displayName(b)));
    const all = [...(conference.self ? [[conference.self, true]] : []), ...others.map((p) => [p, false])];
    const ids = new Set(all.map(([p]) => p.id));
    for (const [id, { element: e }] of rows) if (!ids.has(id)) (e.remove(), rows.delete(id));
    all.forEach(([p, own], i) => {
      const may = KINDS.map((kind) => moderation.mayOther(kind, p));
      const text = JSON.stringify([p.name, p.role, order(p), p.sources, may, own && [media.sending('a0'), media.sending('v0')], conference.isModerator, language()]);
      let known = rows.get(p.id);
      if (known?.text !== text) {
        const next = { text, element: row(p, own, order(p)) };
        const label = known?.element.contains(document.activeElement) ? document.activeElement.getAttribute('aria-label') : null;
        known?.element.replaceWith(next.element);
        if (label) [...next.element.querySelectorAll('button')].find((b) => b.getAttribute('aria-label') === label)?.focus();
        rows.set(p.id, (known = next));
      }
      if (list.children[i] !== known.element) list.insertBefore(known.element, list.children[i] ?? null);
    });
    drawFoot();
  }

  const off = lobby.on('change', drawWaiting);
  drawWaiting();
  return { element, refresh, off, focus: () => element.querySelector('button').focus() };
}
