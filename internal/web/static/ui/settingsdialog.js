// Settings in a modal dialog: name, devices, language, and the list of keys.

import { h } from './dom.js';
import { icon } from './icons.js';
import { deviceSelect } from './common.js';
import { language, setLanguage } from '../i18n.js';
import * as settings from '../settings.js';

const KEYS = [['M', 'keys.m'], ['V', 'keys.v'], ['S', 'keys.s'], ['C', 'keys.c'], ['P', 'keys.p'], ['R', 'keys.r'], ['W', 'keys.w'], [null, 'keys.space'], ['Esc', 'keys.esc']];
const LANGUAGES = { en: 'English', de: 'Deutsch' };

export function settingsDialog({ conference, media }) {
  const mic = deviceSelect(media, 'a0', 'audioinput', (id) => (settings.set('mic', id), media.setDevice('a0', id)));
  const camera = deviceSelect(media, 'v0', 'videoinput', (id) => (settings.set('camera', id), media.setDevice('v0', id)));
  const name = h('input', {
    id: 'own-name',
    maxlength: '60',
    autocomplete: 'name',
    onchange: () => {
      settings.set('name', name.value.trim());
      conference.setName(name.value.trim());
    },
  });
  const lang = h('select', { id: 'own-language', onchange: () => setLanguage(lang.value) }, Object.entries(LANGUAGES).map(([value, text]) => h('option', { value, lang: value }, text)));
  const field = (id, key, input) => h('div', { class: 'field' }, h('label', { for: id, t: key }), input);
  const element = h(
    'dialog',
    { class: 'card', 'aria-labelledby': 'settings-title' },
    h('header', {}, h('h2', { id: 'settings-title', t: 'settings.title' }), h('button', { class: 'quiet', type: 'button', label: 'panel.close', onclick: () => element.close() }, icon('close'))),
    field('own-name', 'lobby.name', name),
    field('device-a0', 'lobby.mic', mic.select),
    field('device-v0', 'lobby.camera', camera.select),
    field('own-language', 'settings.language', lang),
    h('h3', { t: 'settings.keys' }),
    h('dl', { class: 'keys' }, KEYS.map(([key, text]) => h('div', {}, h('dt', {}, key ? h('kbd', {}, key) : h('kbd', { t: 'keys.spaceName' })), h('dd', { t: text })))),
  );
  element.addEventListener('click', (ev) => ev.target === element && element.close()); // the backdrop
  return {
    element,
    open() {
      name.value = conference.self?.name ?? '';
      lang.value = language();
      mic.fill();
      camera.fill();
      media.refreshDevices().then(() => (mic.fill(), camera.fill()));
      element.showModal();
    },
  };
}
