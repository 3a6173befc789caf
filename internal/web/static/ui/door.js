// The door of a meeting: see and hear yourself, choose devices, say who you are, and join; or knock when there is a lobby, and wait
// there until somebody lets you in.

import { h, announce, setText } from './dom.js';
import { icon } from './icons.js';
import { brand, deviceSelect, field, languageSwitch, problemText, toggle } from './common.js';
import { JoinError } from '../proto/muc.js';
import { LobbyError } from '../proto/lobby.js';
import { Meter } from '../proto/media.js';
import { t } from '../i18n.js';
import * as settings from '../settings.js';

// doorView calls onjoin({name, password, credentials, knock}) and says what it throws; oncancel ends the waiting in the lobby.
export function doorView({ room, media, onjoin, oncancel }) {
  const video = h('video', { class: 'mirror', autoplay: true, muted: true, playsInline: true, 'aria-hidden': 'true' });
  const off = h('p', { class: 'preview-off', t: 'door.cameraOff' });
  const level = h('meter', { class: 'level', min: '0', max: '1', label: 'door.level' });
  const micButton = h('button', { class: 'round', type: 'button', id: 'door-mic', onclick: () => remember('micOn', !media.micOn, (on) => media.setMic(on)) });
  const cameraButton = h('button', { class: 'round', type: 'button', id: 'door-camera', onclick: () => remember('cameraOn', !media.sending('v0'), (on) => media.setCamera(on)) });
  const mic = deviceSelect(media, 'a0', 'audioinput', (id) => (settings.set('mic', id), media.setDevice('a0', id)));
  const camera = deviceSelect(media, 'v0', 'videoinput', (id) => (settings.set('camera', id), media.setDevice('v0', id)));
  const problems = h('div', { class: 'problems', role: 'status' });
  const error = h('p', { class: 'error', role: 'alert', id: 'join-error', hidden: true });
  const name = h('input', { id: 'name', name: 'name', autocomplete: 'name', maxlength: '60', value: settings.get('name', '') });
  const user = h('input', { id: 'user', name: 'username', autocomplete: 'username', autocapitalize: 'none', spellcheck: 'false' });
  const code = h('input', { id: 'password', name: 'password', type: 'password', autocomplete: 'current-password' });
  const account = h('details', { class: 'account', id: 'account' }, h('summary', { t: 'door.account' }), field('user', 'door.user', user), field('password', 'door.password', code));
  const roomPassword = h('input', { id: 'room-password', type: 'password', autocomplete: 'off' });
  const roomPasswordField = field('room-password', 'door.roomPassword', roomPassword);
  roomPasswordField.hidden = true;
  const knocking = h('p', { class: 'hint', id: 'door-knock', hidden: true, t: 'door.lobby' });
  const waiting = h('div', { class: 'waiting-room', id: 'waiting', role: 'status', hidden: true }, h('span', { class: 'spinner', 'aria-hidden': 'true' }), h('p', { t: 'door.waiting' }));
  const cancel = h('button', { type: 'button', id: 'cancel', t: 'ask.cancel', onclick: () => oncancel() });
  const joinText = h('span', { t: 'door.join' });
  const join = h('button', { class: 'primary', type: 'submit', id: 'join' }, joinText, icon('arrow'));

  let meter = null;
  let frame = 0;
  let previewed = null;
  let lobby = false; // the meeting has one: joining is knocking

  function remember(key, on, fn) {
    settings.set(key, on);
    return fn(on);
  }

  function refresh() {
    const track = media.tracks.v0;
    if (track !== previewed) {
      previewed = track;
      video.srcObject = track ? new MediaStream([track]) : null;
    }
    video.hidden = !track;
    off.hidden = Boolean(track);
    toggle(micButton, media.micOn && media.tracks.a0, 'mic', 'micOff', 'bar.mute', 'bar.unmute');
    toggle(cameraButton, track, 'camera', 'cameraOff', 'bar.cameraOff', 'bar.cameraOn');
    if (meter?.track !== media.tracks.a0) {
      meter?.close();
      meter = media.tracks.a0 ? Object.assign(new Meter(media.tracks.a0), { track: media.tracks.a0 }) : null;
    }
    mic.fill();
    camera.fill();
    const list = Object.entries(media.problems).filter(([, v]) => v);
    problems.replaceChildren(...list.map(([key, v]) => h('p', {}, problemText({ key, name: v }))));
    if (!window.isSecureContext) problems.append(h('p', {}, t('error.secure')));
  }

  function draw() {
    level.value = meter && media.micOn ? meter.read() : 0;
    frame = requestAnimationFrame(draw);
  }

  async function submit(ev) {
    ev.preventDefault();
    const given = name.value.trim();
    const password = roomPassword.value || undefined;
    error.hidden = true;
    busy(true);
    settings.set('name', given);
    try {
      // With a password one need not knock; if it is wrong we want to hear so, and not to wait.
      await onjoin({ name: given, password, knock: lobby && !password, credentials: account.open && user.value ? { user: user.value.trim(), password: code.value } : null });
    } catch (err) {
      console.warn('join', err);
      busy(false);
      say(explain(err, password));
    }
  }

  function busy(on) {
    join.disabled = on;
    setText(joinText, on ? 'door.joining' : lobby ? 'door.knock' : 'door.join');
    knocks(false);
  }

  // knocks shows that we wait in the lobby.
  function knocks(on) {
    waiting.hidden = !on;
    cancel.hidden = !on;
    join.hidden = on;
    fields.inert = on;
    fields.hidden = on;
    if (on) (announce(t('door.waiting')), cancel.focus());
  }

  function say(text) {
    error.textContent = text;
    error.hidden = !text;
    if (text) announce(text);
  }

  // explain finds the words for what went wrong, and shows the field that can mend it.
  function explain(err, password) {
    if (err instanceof LobbyError) return err.condition === 'cancelled' ? '' : t(err.condition === 'denied' ? 'error.denied' : 'end.destroyed');
    if (err instanceof JoinError) return refused(err, password);
    const withAccount = account.open && user.value;
    switch (err.condition) {
      case 'network':
      case 'remote-server-timeout':
        return t('error.network');
      case 'not-authorized':
        account.open = true;
        (withAccount ? code : user).focus();
        return t(withAccount ? 'error.login' : 'error.account');
    }
    return t('error.join', { text: err.message || err.condition || '' });
  }

  // refused: the room itself said no.
  function refused(err, password) {
    if (err.nameRequired) return (name.focus(), t('error.name'));
    switch (err.condition) {
      case 'not-authorized':
        roomPasswordField.hidden = false;
        roomPassword.select();
        roomPassword.focus();
        return t(password ? 'error.wrongPassword' : 'error.roomPassword');
      case 'registration-required':
        if (!err.lobby) return t('error.members');
        lobby = true;
        roomPasswordField.hidden = knocking.hidden = false;
        setText(roomPasswordField.querySelector('label'), 'door.lobbyPassword');
        setText(joinText, 'door.knock');
        join.focus();
        return password ? t('error.wrongPassword') : '';
      case 'service-unavailable':
        return t('error.full');
      case 'forbidden':
        return t('error.banned');
    }
    return t('error.join', { text: err.message || err.condition });
  }

  const fields = h('div', { class: 'fields' }, knocking, field('name', 'door.name', name), field('device-a0', 'door.mic', mic.select), field('device-v0', 'door.camera', camera.select), roomPasswordField, account);
  const stop = media.on('change', refresh);
  const element = h(
    'div',
    { class: 'plain door' },
    h('header', { class: 'top' }, brand(), languageSwitch()),
    h(
      'main',
      {},
      h(
        'section',
        { class: 'preview', label: 'door.camera' },
        h('div', { class: 'frame' }, video, off, h('div', { class: 'preview-bar' }, micButton, cameraButton)),
        h('div', { class: 'meter-row' }, icon('mic'), level),
        problems,
      ),
      h(
        'form',
        { class: 'card', onsubmit: submit },
        h('h1', { t: 'door.title' }),
        h('p', { class: 'room-name' }, room),
        fields,
        waiting,
        error,
        join,
        cancel,
      ),
    ),
  );

  return {
    element,
    waiting: () => knocks(true),
    async shown() {
      cancel.hidden = true;
      draw();
      refresh();
      if (!name.value) name.focus();
      media.refreshDevices();
      await Promise.all([settings.get('micOn', true) && media.setMic(true), settings.get('cameraOn', true) && media.setCamera(true)]);
    },
    close() {
      stop();
      cancelAnimationFrame(frame);
      meter?.close();
      video.srcObject = null;
    },
  };
}
