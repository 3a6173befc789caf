// Small pieces that several views share.

import { h } from './dom.js';
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
    const options = devices.map((d) => h('option', { value: d.deviceId }, d.label || t('lobby.default')));
    if (options.length === 0) options.push(h('option', { value: '' }, t('lobby.noDevice')));
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
