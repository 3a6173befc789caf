// The lobby: see and hear yourself, choose devices, say who you are, join.

import { h, announce, setText } from './dom.js';
import { icon } from './icons.js';
import { brand, deviceSelect, languageSwitch, problemText } from './common.js';
import { Meter } from '../proto/media.js';
import { t } from '../i18n.js';
import * as settings from '../settings.js';

export function lobbyView({ room, media, onjoin }) {
  const video = h('video', { class: 'mirror', autoplay: true, muted: true, playsInline: true, 'aria-hidden': 'true' });
  const off = h('p', { class: 'preview-off', t: 'lobby.cameraOff' });
  const level = h('meter', { class: 'level', min: '0', max: '1', label: 'lobby.level' });
  const micButton = h('button', { class: 'round', type: 'button', id: 'lobby-mic', onclick: () => remember('micOn', !media.micOn, (on) => media.setMic(on)) });
  const cameraButton = h('button', { class: 'round', type: 'button', id: 'lobby-camera', onclick: () => remember('cameraOn', !media.sending('v0'), (on) => media.setCamera(on)) });
  const mic = deviceSelect(media, 'a0', 'audioinput', (id) => (settings.set('mic', id), media.setDevice('a0', id)));
  const camera = deviceSelect(media, 'v0', 'videoinput', (id) => (settings.set('camera', id), media.setDevice('v0', id)));
  const problems = h('div', { class: 'problems', role: 'status' });
  const error = h('p', { class: 'error', role: 'alert', id: 'join-error', hidden: true });
  const name = h('input', { id: 'name', name: 'name', autocomplete: 'name', maxlength: '60', value: settings.get('name', '') });
  const user = h('input', { id: 'user', name: 'username', autocomplete: 'username', autocapitalize: 'none', spellcheck: 'false' });
  const password = h('input', { id: 'password', name: 'password', type: 'password', autocomplete: 'current-password' });
  const account = h('details', { class: 'account', id: 'account' }, h('summary', { t: 'lobby.account' }), field('user', 'lobby.user', user), field('password', 'lobby.password', password));
  const roomPassword = h('input', { id: 'room-password', type: 'password', autocomplete: 'off' });
  const roomPasswordField = field('room-password', 'lobby.roomPassword', roomPassword);
  roomPasswordField.hidden = true;
  const joinText = h('span', { t: 'lobby.join' });
  const join = h('button', { class: 'primary', type: 'submit', id: 'join' }, joinText, icon('arrow'));

  let meter = null;
  let frame = 0;
  let previewed = null;

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
    error.hidden = true;
    join.disabled = true;
    setText(joinText, 'lobby.joining');
    settings.set('name', name.value.trim());
    try {
      await onjoin({
        name: name.value.trim(),
        password: roomPassword.value || undefined,
        credentials: account.open && user.value ? { user: user.value.trim(), password: password.value } : null,
      });
    } catch (err) {
      console.warn('join', err);
      join.disabled = false;
      setText(joinText, 'lobby.join');
      explain(err);
    }
  }

  function explain(err) {
    const withAccount = account.open && user.value;
    let text = t('error.join', { text: err.message || err.condition || '' });
    switch (err.condition) {
      case 'network':
      case 'remote-server-timeout':
        text = t('error.network');
        break;
      case 'not-authorized':
        if (err.constructor.name === 'JoinError') {
          text = t('error.roomPassword');
          roomPasswordField.hidden = false;
          roomPassword.focus();
        } else {
          text = t(withAccount ? 'error.login' : 'error.account');
          account.open = true;
          (withAccount ? password : user).focus();
        }
        break;
      case 'registration-required':
        text = t('error.lobby');
        break;
      case 'service-unavailable':
        if (err.constructor.name === 'JoinError') text = t('error.full');
    }
    error.textContent = text;
    error.hidden = false;
    announce(text);
  }

  const stop = media.on('change', refresh);
  const element = h(
    'div',
    { class: 'plain lobby' },
    h('header', { class: 'top' }, brand(), languageSwitch()),
    h(
      'main',
      {},
      h(
        'section',
        { class: 'preview', label: 'lobby.camera' },
        h('div', { class: 'frame' }, video, off, h('div', { class: 'preview-bar' }, micButton, cameraButton)),
        h('div', { class: 'meter-row' }, icon('mic'), level),
        problems,
      ),
      h(
        'form',
        { class: 'card', onsubmit: submit },
        h('h1', { t: 'lobby.title' }),
        h('p', { class: 'room-name' }, room),
        field('name', 'lobby.name', name),
        field('device-a0', 'lobby.mic', mic.select),
        field('device-v0', 'lobby.camera', camera.select),
        roomPasswordField,
        account,
        error,
        join,
      ),
    ),
  );

  return {
    element,
    async shown() {
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

function field(id, key, input) {
  return h('div', { class: 'field' }, h('label', { for: id, t: key }), input);
}

// toggle draws a button that is on or off.
export function toggle(button, on, iconOn, iconOff, labelOn, labelOff) {
  const state = on ? 'on' : 'off';
  if (button.dataset.state !== state) {
    button.dataset.state = state;
    button.querySelector('svg')?.remove();
    button.prepend(icon(on ? iconOn : iconOff));
  }
  const label = on ? labelOn : labelOff;
  button.dataset.tLabel = label;
  button.setAttribute('aria-label', t(label));
  button.title = t(label);
  const caption = button.querySelector('span');
  if (caption) setText(caption, label);
}
