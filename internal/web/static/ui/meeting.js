// The meeting: tiles, controls, side panels, dialogs, and what happens said in words.

import { announce, h, setText } from './dom.js';
import { icon } from './icons.js';
import { brand, displayName, problemText, toggle } from './common.js';
import { Tiles } from './tiles.js';
import { chatPanel } from './chat.js';
import { peoplePanel } from './people.js';
import { pollsPanel } from './polls.js';
import { breakoutPanel } from './breakout.js';
import { reactionsView } from './reactions.js';
import { knocks, requests, toasts } from './notices.js';
import { securityDialog } from './security.js';
import { settingsDialog } from './settingsdialog.js';
import { duration, speakersDialog } from './speakers.js';
import { confirm } from './dialogs.js';
import { keyboard } from './keyboard.js';
import { openMenu } from './menu.js';
import { onLanguage, t } from '../i18n.js';

const KEY = { audio: 'a0', video: 'v0', desktop: 'v1' };

export function meetingView({ conference, media, onleave }) {
  const { moderation, polls, breakout, recording } = conference;
  const off = [];
  const tiles = new Tiles({ conference, media });
  const notes = toasts();
  const cards = requests();
  const reactions = reactionsView({ conference });
  const close = () => openPanel(null);
  const security = securityDialog({ conference });
  const settings = settingsDialog({ conference, media, onoutput: (id) => tiles.setOutput(id) });
  const speakers = speakersDialog({ conference });
  const panels = {
    chat: chatPanel({ conference, onclose: close }),
    people: peoplePanel({ conference, media, onclose: close, onwrite: (id) => writeTo(id), onmoderation: security.open }),
    polls: pollsPanel({ conference, onclose: close }),
    breakout: breakoutPanel({ conference, onclose: close }),
  };
  let panel = null;
  let unread = 0;

  // ---- controls ----

  const control = (id, iconName, label, onclick, extra = {}) => {
    const b = h('button', { class: 'control', type: 'button', id, onclick, 'aria-keyshortcuts': extra.key, ...extra.props }, icon(iconName), h('span', {}));
    setText(b.querySelector('span'), label);
    b.dataset.tLabel = label;
    b.setAttribute('aria-label', t(label));
    return b;
  };
  const turn = (key) => (media.sending(key) ? conference.turnOff(key) : conference.turnOn(key));
  const opens = { 'aria-expanded': 'false' };
  const mic = control('mic', 'mic', 'bar.mute', () => turn('a0'), { key: 'M' });
  const camera = control('camera', 'camera', 'bar.cameraOff', () => turn('v0'), { key: 'V' });
  const share = control('share', 'screen', 'bar.share', () => turn('v1'), { key: 'S' });
  const hand = control('hand', 'hand', 'bar.hand', () => conference.raiseHand(!conference.self?.hand), { key: 'R' });
  const react = control('react', 'smile', 'bar.react', () => reactions.menu(react), { key: 'E', props: opens });
  const chatButton = control('chat', 'chat', 'bar.chat', () => openPanel('chat'), { key: 'C', props: { ...opens, 'aria-controls': 'panel-chat' } });
  const peopleButton = control('people', 'people', 'bar.people', () => openPanel('people'), { key: 'P', props: { ...opens, 'aria-controls': 'panel-people' } });
  const more = control('more', 'more', 'bar.more', moreMenu, { props: opens });
  const leave = control('leave', 'leave', 'bar.leave', leaveMenu);
  const unreadBadge = h('b', { class: 'count', hidden: true });
  const peopleCount = h('b', { class: 'count plain-count' });
  const newPolls = h('b', { class: 'count dot', hidden: true });
  chatButton.append(unreadBadge);
  peopleButton.append(peopleCount);
  more.append(newPolls);
  const canShare = Boolean(navigator.mediaDevices?.getDisplayMedia);
  const bar = h('div', { class: 'bar', role: 'toolbar', label: 'bar.label' }, mic, camera, canShare && share, hand, react, chatButton, peopleButton, more, leave);

  function moreMenu() {
    openMenu(more, [
      polls.supported && { text: t('polls.title'), icon: 'poll', onclick: () => openPanel('polls') },
      breakout.supported && { text: t('breakout.title'), icon: 'rooms', onclick: () => openPanel('breakout') },
      { text: t('speakers.title'), icon: 'chart', onclick: speakers.open },
      conference.isModerator && { text: t('security.title'), icon: 'shield', onclick: security.open },
      { text: t('settings.title'), icon: 'settings', onclick: settings.open },
    ]);
  }

  // leaveMenu asks moderators whether the meeting ends for all.
  function leaveMenu() {
    if (!conference.isModerator || !conference.components.has('end_conference')) return onleave();
    openMenu(leave, [
      { text: t('leave.self'), icon: 'leave', onclick: onleave },
      breakout.groups.some((r) => r === breakout.current) && { text: t('breakout.back'), icon: 'rooms', onclick: () => breakout.leave() },
      { text: t('leave.end'), icon: 'close', danger: true, onclick: async () => (await confirm(t('leave.confirm'), 'leave.end')) && moderation.endForAll() },
    ]);
  }

  // ---- frame ----

  const clock = h('span', { class: 'clock', role: 'timer', 'aria-live': 'off' });
  const recorded = h('span', { class: 'recorded', role: 'status', hidden: true });
  const locked = h('span', { class: 'locked', role: 'img', label: 'meeting.locked', hidden: true }, icon('lock'));
  const view = h('button', { class: 'quiet', type: 'button', id: 'view', 'aria-keyshortcuts': 'W', onclick: () => (tiles.staged ? tiles.setStage(null) : tiles.setFollow(true)) });
  const banner = h('div', { class: 'banner', role: 'status', hidden: true });
  const side = h('div', { class: 'side', hidden: true });
  const overlay = h('div', { class: 'overlay', hidden: true });
  const title = h('h1', {}, conference.name);
  const element = h(
    'div',
    { class: 'meeting' },
    h('header', { class: 'top' }, brand(), title, locked, clock, recorded, h('span', { class: 'spacer' }), view),
    banner,
    h('main', {}, tiles.element, side),
    reactions.element,
    cards.element,
    notes.element,
    bar,
    overlay,
    settings.element,
    security.element,
    speakers.element,
  );

  function openPanel(name) {
    const before = panel;
    panel = panel === name ? null : name;
    side.hidden = !panel;
    side.replaceChildren(...(panel ? [panels[panel].element] : []));
    chatButton.setAttribute('aria-expanded', String(panel === 'chat'));
    peopleButton.setAttribute('aria-expanded', String(panel === 'people'));
    if (panel === 'chat') {
      showUnread(0);
      notes.clear('from-chat');
    }
    if (panel === 'polls') newPolls.hidden = true;
    panels[panel]?.refresh();
    if (panel) panels[panel].focus();
    else ({ chat: chatButton, people: peopleButton })[before]?.focus() ?? more.focus();
  }

  function writeTo(id) {
    if (panel !== 'chat') openPanel('chat');
    panels.chat.writeTo(id);
  }

  function showUnread(n) {
    unread = n;
    unreadBadge.hidden = n === 0;
    unreadBadge.textContent = n > 99 ? '99+' : n;
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
    if (panel === 'people' || panel === 'chat') panels[panel].refresh();
    toggle(mic, media.sending('a0'), 'mic', 'micOff', 'bar.mute', 'bar.unmute');
    toggle(camera, media.sending('v0'), 'camera', 'cameraOff', 'bar.cameraOff', 'bar.cameraOn');
    toggle(share, media.sending('v1'), 'screen', 'screen', 'bar.unshare', 'bar.share');
    for (const [b, kind] of [[mic, 'audio'], [camera, 'video'], [share, 'desktop']]) b.classList.toggle('forbidden', !moderation.may(kind));
    const up = Boolean(conference.self?.hand);
    toggle(hand, up, 'hand', 'hand', 'bar.handDown', 'bar.hand');
    hand.setAttribute('aria-pressed', String(up));
    peopleCount.textContent = conference.participants.length + 1;
  }

  function showTitle() {
    const room = breakout.current;
    title.textContent = room && !room.main ? `${conference.name} · ${room.name}` : conference.subject || conference.name;
    locked.hidden = !conference.info?.locked;
  }

  function showRecording(kind, on) {
    recorded.hidden = recording.running.size === 0;
    recorded.textContent = [...recording.running].map((k) => t(`recording.${k}`)).join(' · ');
    if (kind) notes.show(t(on ? `recording.started.${kind}` : `recording.stopped.${kind}`));
  }

  let trouble = false; // the connection was lost, and the person was told
  function showState() {
    const { state } = conference;
    const waiting = conference.participants.length > 0 && state === 'joined' && ['new', 'connecting', 'disconnected'].includes(conference.call.iceState);
    const key = { reconnecting: 'state.reconnecting', switching: 'state.switching' }[state] ?? (waiting ? 'state.media' : '');
    banner.hidden = !key;
    if (banner.dataset.t !== key) setText(banner, key);
    if (trouble && state === 'joined') notes.show(t('state.back'));
    trouble = state === 'reconnecting' || (trouble && state !== 'joined');
    if (state === 'failed') cover('state.failed', h('button', { class: 'primary', type: 'button', t: 'state.retry', onclick: () => location.reload() }));
  }

  function cover(key, button, params) {
    const home = h('a', { class: 'button', href: '/', t: 'end.home' });
    const text = h('h2', { tabindex: '-1' }, t(key, params));
    overlay.replaceChildren(h('div', { class: 'card' }, text, h('div', { class: 'buttons' }, button, home)));
    overlay.hidden = false;
    for (const d of element.querySelectorAll('dialog[open]')) d.close();
    bar.inert = side.inert = tiles.element.inert = cards.element.inert = true;
    text.focus();
    announce(text.textContent);
  }

  const hands = new Set();
  function showHands() {
    for (const p of conference.participants) {
      if (p.hand && !hands.has(p.id)) raised(p);
      if (!p.hand) cards.remove(`hand ${p.id}`);
    }
    hands.clear();
    for (const id of conference.hands) hands.add(id);
  }

  // raised: moderators can let somebody speak right away.
  function raised(p) {
    const name = displayName(p);
    const kinds = ['audio', 'video'].filter((kind) => conference.isModerator && !moderation.mayOther(kind, p));
    if (kinds.length === 0) return notes.show(t('notice.hand', { name }));
    cards.show(`hand ${p.id}`, t('notice.hand', { name }), kinds.map((kind) => ({ t: `people.allowItem.${kind}`, primary: true, onclick: () => moderation.allow(p.id, kind) })));
  }

  const noticeName = (key, name) => name || t(/muted|moderated|free/.test(key) ? 'notice.moderator' : 'meeting.guest');
  off.push(
    conference.on('participants', () => (refresh(), showState(), showHands())),
    conference.on('quality', refresh),
    conference.on('state', showState),
    conference.on('ice', showState),
    conference.on('info', showTitle),
    conference.on('dominant', (id) => tiles.speaking(id)),
    conference.chat.on('message', (m) => {
      panels.chat.add(m);
      if (m.own || m.delayed || panel === 'chat') return;
      showUnread(unread + 1);
      notes.show(t(m.isPrivate ? 'chat.fromPrivate' : 'chat.from', { name: m.name || t('meeting.guest'), text: m.text.slice(0, 120) }), 'from-chat');
    }),
    conference.on('notice', ({ key, params = {}, text }) => notes.show(text ?? t(key, { ...params, name: noticeName(key, params.name) }))),
    conference.on('subject', showTitle),
    conference.on('ended', ({ reason, by }) => {
      const key = reason === 'kicked' && by ? 'end.kickedBy' : `end.${reason}`;
      cover(key, h('button', { class: 'primary', type: 'button', t: 'end.again', onclick: () => location.reload() }), { name: by });
    }),
    moderation.on('change', refresh),
    moderation.on('allowed', (kind) => {
      if (conference.self?.hand) conference.raiseHand(false);
      if (media.sending(KEY[kind])) return;
      cards.show(`allowed ${kind}`, t(`allowed.${kind}`), [{ t: 'allowed.later' }, { t: `allowed.${kind}Now`, primary: true, onclick: () => conference.turnOn(KEY[kind]) }]);
    }),
    moderation.on('withdrawn', (kind) => (cards.remove(`allowed ${kind}`), notes.show(t(`notice.withdrawn.${kind}`)))),
    polls.on('poll', (p) => {
      if (panel === 'polls' || p.sender === conference.id) return;
      newPolls.hidden = false;
      notes.show(t('polls.notice', { question: p.question }));
    }),
    breakout.on('change', showTitle),
    recording.on('change', showRecording),
    media.on('change', refresh),
    media.on('problem', (p) => notes.show(problemText(p))),
    onLanguage(() => (refresh(), showTitle(), showRecording(), panels.polls.refresh(), panels.breakout.refresh())),
    knocks({ conference, cards }),
    keyboard({
      blocked: () => !overlay.hidden || Boolean(document.querySelector('dialog[open]')),
      keys: {
        m: () => mic.click(),
        v: () => camera.click(),
        s: () => canShare && share.click(),
        r: () => hand.click(),
        e: () => react.click(),
        c: () => openPanel('chat'),
        p: () => openPanel('people'),
        w: () => view.click(),
        escape: () => (panel ? openPanel(null) : tiles.setStage(null)),
      },
      talk: { may: () => !media.sending('a0') && moderation.may('audio'), start: () => (conference.turnOn('a0'), notes.show(t('notice.talk'))), end: () => conference.turnOff('a0') },
    }),
    ...[reactions, security, speakers, ...Object.values(panels)].map((part) => part.off),
  );
  cards.onlook = () => panel !== 'people' && openPanel('people');
  tiles.onarranged = () => toggle(view, tiles.staged, 'grid', 'speaker', 'bar.grid', 'bar.speaker');
  tiles.onblocked = () => {
    notes.show(t('notice.play'));
    addEventListener('pointerdown', () => tiles.play(), { once: true });
  };
  const seconds = setInterval(() => (clock.textContent = duration(Date.now() - conference.joinedAt)), 1000);

  return {
    element,
    setStage: (source) => tiles.setStage(source),
    shown() {
      draw();
      showState();
      showTitle();
      showRecording([...recording.running][0], true);
      mic.focus({ preventScroll: true });
    },
    close() {
      for (const fn of off) fn();
      clearInterval(seconds);
      tiles.close();
    },
  };
}
