// The meeting: tiles, controls, side panels, states, keyboard.

import { announce, h, setText } from './dom.js';
import { icon } from './icons.js';
import { brand, displayName, problemText } from './common.js';
import { toggle } from './lobby.js';
import { Tiles } from './tiles.js';
import { chatPanel, peoplePanel } from './panels.js';
import { settingsDialog } from './settingsdialog.js';
import { onLanguage, t } from '../i18n.js';

const TOAST_TIME = 5_000; // ms
const MAX_TOASTS = 2; // at a time; more would hide the tiles

export function meetingView({ conference, media, onleave }) {
  const off = [];
  const tiles = new Tiles({ conference, media });
  const chat = chatPanel({ conference, onclose: () => openPanel(null) });
  const people = peoplePanel({ conference, media, onclose: () => openPanel(null) });
  const panels = { chat, people };
  const settings = settingsDialog({ conference, media });
  let panel = null;
  let unread = 0;
  let talking = false;

  // ---- controls ----

  const control = (id, iconName, label, onclick, extra = {}) => {
    const b = h('button', { class: 'control', type: 'button', id, onclick, 'aria-keyshortcuts': extra.key, ...extra.props }, icon(iconName), h('span', {}));
    setText(b.querySelector('span'), label);
    b.dataset.tLabel = label;
    b.setAttribute('aria-label', t(label));
    return b;
  };
  const mic = control('mic', 'mic', 'bar.mute', () => media.setMic(!media.sending('a0')), { key: 'M' });
  const camera = control('camera', 'camera', 'bar.cameraOff', () => media.setCamera(!media.sending('v0')), { key: 'V' });
  const share = control('share', 'screen', 'bar.share', () => media.setScreen(!media.tracks.v1), { key: 'S' });
  const hand = control('hand', 'hand', 'bar.hand', () => conference.raiseHand(!conference.self?.hand), { key: 'R' });
  const chatButton = control('chat', 'chat', 'bar.chat', () => openPanel('chat'), { key: 'C', props: { 'aria-expanded': 'false', 'aria-controls': 'panel-chat' } });
  const peopleButton = control('people', 'people', 'bar.people', () => openPanel('people'), { key: 'P', props: { 'aria-expanded': 'false', 'aria-controls': 'panel-people' } });
  const options = control('settings', 'settings', 'bar.settings', () => settings.open());
  const leave = control('leave', 'leave', 'bar.leave', onleave);
  const unreadBadge = h('b', { class: 'count', hidden: true });
  const peopleCount = h('b', { class: 'count plain-count' });
  chatButton.append(unreadBadge);
  peopleButton.append(peopleCount);
  const canShare = Boolean(navigator.mediaDevices?.getDisplayMedia);
  const bar = h('div', { class: 'bar', role: 'toolbar', label: 'bar.label' }, mic, camera, canShare && share, hand, chatButton, peopleButton, options, leave);

  // ---- frame ----

  const clock = h('span', { class: 'clock', role: 'timer', 'aria-live': 'off' });
  const view = h('button', { class: 'quiet', type: 'button', id: 'view', 'aria-keyshortcuts': 'W', onclick: () => (tiles.staged ? tiles.setStage(null) : tiles.setFollow(true)) });
  const banner = h('div', { class: 'banner', role: 'status', hidden: true });
  const toasts = h('div', { class: 'toasts', 'aria-hidden': 'true' });
  const side = h('div', { class: 'side', hidden: true });
  const overlay = h('div', { class: 'overlay', hidden: true });
  const title = h('h1', {}, conference.name);
  const element = h(
    'div',
    { class: 'meeting' },
    h('header', { class: 'top' }, brand(), title, clock, h('span', { class: 'spacer' }), view),
    banner,
    h('main', {}, tiles.element, side),
    toasts,
    bar,
    overlay,
    settings.element,
  );

  function openPanel(name) {
    panel = panel === name ? null : name;
    side.hidden = !panel;
    side.replaceChildren(...(panel ? [panels[panel].element] : []));
    chatButton.setAttribute('aria-expanded', String(panel === 'chat'));
    peopleButton.setAttribute('aria-expanded', String(panel === 'people'));
    if (panel === 'chat') {
      showUnread(0);
      for (const e of toasts.querySelectorAll('.from-chat')) e.remove();
    }
    if (panel === 'people') people.refresh();
    if (panel) panels[panel].focus();
    else if (name === null || document.activeElement === document.body) (name === 'people' ? peopleButton : chatButton).focus();
  }

  function showUnread(n) {
    unread = n;
    unreadBadge.hidden = n === 0;
    unreadBadge.textContent = n > 99 ? '99+' : n;
  }

  function toast(text, kind = '') {
    if (!text) return;
    announce(text);
    const e = h('div', { class: `toast ${kind}` }, text);
    toasts.append(e);
    while (toasts.children.length > MAX_TOASTS) toasts.firstChild.remove();
    setTimeout(() => e.remove(), TOAST_TIME);
  }

  // ---- what changes ----

  let scheduled = false;
  function refresh() {
    if (scheduled) return;
    scheduled = true;
    requestAnimationFrame(() => ((scheduled = false), draw()));
    setTimeout(() => scheduled && ((scheduled = false), draw()), 200); // hidden pages draw no frames
  }

  function draw() {
    tiles.refresh();
    if (panel === 'people') people.refresh();
    toggle(mic, media.sending('a0'), 'mic', 'micOff', 'bar.mute', 'bar.unmute');
    toggle(camera, media.sending('v0'), 'camera', 'cameraOff', 'bar.cameraOff', 'bar.cameraOn');
    toggle(share, media.sending('v1'), 'screen', 'screen', 'bar.unshare', 'bar.share');
    const up = Boolean(conference.self?.hand);
    toggle(hand, up, 'hand', 'hand', 'bar.handDown', 'bar.hand');
    hand.setAttribute('aria-pressed', String(up));
    peopleCount.textContent = conference.participants.length + 1;
  }

  function showState() {
    const { state } = conference;
    const waiting = conference.participants.length > 0 && state === 'joined' && ['new', 'connecting', 'disconnected'].includes(conference.iceState);
    banner.hidden = !(state === 'reconnecting' || waiting);
    if (!banner.hidden) {
      const key = state === 'reconnecting' ? 'state.reconnecting' : 'state.media';
      if (banner.dataset.t !== key) setText(banner, key);
    } else delete banner.dataset.t;
    if (state === 'failed') {
      cover('state.failed', h('button', { class: 'primary', type: 'button', t: 'state.retry', onclick: () => location.reload() }));
    }
  }

  function cover(key, button, params) {
    const home = h('a', { class: 'button', href: '/', t: 'end.home' });
    const text = h('h2', { tabindex: '-1' }, t(key, params));
    overlay.replaceChildren(h('div', { class: 'card' }, text, h('div', { class: 'buttons' }, button, home)));
    overlay.hidden = false;
    bar.inert = side.inert = tiles.element.inert = true;
    text.focus();
    announce(text.textContent);
  }

  off.push(
    conference.on('participants', () => (refresh(), showState())),
    conference.on('quality', refresh),
    conference.on('state', showState),
    conference.on('ice', showState),
    conference.on('dominant', (id) => tiles.speaking(id)),
    conference.on('message', (m) => {
      chat.add(m);
      if (m.own || m.delayed) return;
      if (panel !== 'chat') {
        showUnread(unread + 1);
        toast(t('chat.from', { name: m.name || t('meeting.guest'), text: m.text.slice(0, 120) }), 'from-chat');
      }
    }),
    conference.on('notice', ({ key, params = {}, text }) => toast(text ?? t(key, { ...params, name: params.name || t(key.includes('muted') ? 'notice.moderator' : 'meeting.guest') }))),
    conference.on('subject', (s) => (title.textContent = s || conference.name)),
    conference.on('ended', ({ reason, by }) => {
      const key = reason === 'kicked' && by ? 'end.kickedBy' : `end.${reason}`;
      cover(key, h('button', { class: 'primary', type: 'button', t: 'end.again', onclick: () => location.reload() }), { name: by });
    }),
    media.on('change', refresh),
    media.on('problem', (p) => toast(problemText(p))),
    onLanguage(refresh),
  );

  const hands = new Map();
  off.push(
    conference.on('participants', () => {
      for (const p of conference.participants) {
        if (p.hand && !hands.get(p.id)) toast(t('notice.hand', { name: displayName(p) }));
        hands.set(p.id, p.hand);
      }
    }),
  );
  tiles.onarranged = () => toggle(view, tiles.staged, 'grid', 'speaker', 'bar.grid', 'bar.speaker');
  tiles.onblocked = () => {
    toast(t('notice.play'));
    addEventListener('pointerdown', () => tiles.play(), { once: true });
  };

  const seconds = setInterval(() => {
    const s = Math.floor((Date.now() - conference.joinedAt) / 1000);
    const two = (n) => String(n).padStart(2, '0');
    clock.textContent = (s >= 3600 ? `${Math.floor(s / 3600)}:` : '') + `${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
  }, 1000);

  // ---- keyboard ----

  const keys = {
    m: () => mic.click(),
    v: () => camera.click(),
    s: () => canShare && share.click(),
    r: () => hand.click(),
    c: () => openPanel('chat'),
    p: () => openPanel('people'),
    w: () => view.click(),
    escape: () => (panel ? openPanel(null) : tiles.setStage(null)),
  };
  function keydown(ev) {
    const typing = ev.target.closest?.('input, textarea, select, dialog[open]');
    const key = ev.key.toLowerCase();
    if (ev.ctrlKey || ev.metaKey || ev.altKey || !overlay.hidden) return;
    if (typing && key !== 'escape') return;
    if (ev.target.closest?.('dialog[open]')) return;
    if (key === ' ') {
      if (ev.target.closest?.('button, a, summary')) return; // space presses it
      ev.preventDefault();
      if (ev.repeat || talking || media.sending('a0')) return;
      talking = true;
      media.setMic(true);
      toast(t('notice.talk'));
      return;
    }
    if (keys[key] && !ev.repeat) {
      ev.preventDefault();
      keys[key]();
    }
  }
  function endTalk(ev) {
    if (!talking || (ev.type === 'keyup' && ev.key !== ' ')) return;
    talking = false;
    media.setMic(false);
  }
  addEventListener('keydown', keydown);
  addEventListener('keyup', endTalk);
  addEventListener('blur', endTalk);

  return {
    element,
    setStage: (source) => tiles.setStage(source),
    shown() {
      draw();
      showState();
      mic.focus({ preventScroll: true });
    },
    close() {
      for (const fn of off) fn();
      clearInterval(seconds);
      removeEventListener('keydown', keydown);
      removeEventListener('keyup', endTalk);
      removeEventListener('blur', endTalk);
      tiles.close();
    },
  };
}
