// Small pieces that several views share.

import { h, setText } from './dom.js';
import { icon } from './icons.js';
import { language, setLanguage, t } from '../i18n.js';

export function brand() {
  return h('a', { class: 'brand', href: '/' }, h('img', { src: '/static/icon.svg', alt: '', width: '28', height: '28' }), h('span', {}, 'Konzil'));
}

export function languageSwitch() {
  return h('button', { class: 'quiet', type: 'button', id: 'language', t: 'lang.switch', onclick: () => setLanguage(language() === 'de' ? 'en' : 'de') });
}

// initials of a name for tiles without video.
export function initials(name) {
  const words = name.trim().split(/\s+/).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words.at(-1)] : words;
  return letters.map((w) => [...w][0].toUpperCase()).join('') || '?';
}

// hue gives every endpoint its own colour.
export function hue(id) {
  let n = 7;
  for (const c of id) n = (n * 31 + c.codePointAt(0)) % 360;
  return n;
}

// deviceSelect is the choice of a microphone or camera; it follows the devices that come and go.
export function deviceSelect(media, key, kind, onpick) {
  const select = h('select', { id: `device-${key}`, onchange: () => onpick(select.value) });
  const fill = () => {
    const devices = media.devices[kind];
    const current = media.tracks[key]?.getSettings().deviceId ?? media.deviceIds[key] ?? '';
    const options = devices.map((d) => h('option', { value: d.deviceId }, d.label || t('door.default')));
    if (options.length === 0) options.push(h('option', { value: '' }, t('door.noDevice')));
    select.replaceChildren(...options);
    select.disabled = devices.length === 0;
    if (devices.some((d) => d.deviceId === current)) select.value = current;
  };
  fill();
  return { select, fill };
}

export function problemText({ key, name }) {
  const device = t(`device.${key}`);
  const known = ['NotAllowedError', 'NotFoundError', 'NotReadableError'].includes(name);
  return t(known ? `device.${name}` : 'device.other', { device });
}

// displayName is what a participant is called here.
export const displayName = (p) => p.name || `${t('meeting.guest')} ${p.id.slice(0, 4)}`;

// field is an input under its label.
export function field(id, key, input) {
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
