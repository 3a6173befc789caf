// Settings in a modal dialog: name, devices, language, and the list of keys.

import { h } from './dom.js';
import { deviceSelect, field } from './common.js';
import { dialog } from './dialogs.js';
import { language, setLanguage } from '../i18n.js';
import * as settings from '../settings.js';

const KEYS = [['M', 'keys.m'], ['V', 'keys.v'], ['S', 'keys.s'], ['C', 'keys.c'], ['P', 'keys.p'], ['R', 'keys.r'], ['E', 'keys.e'], ['W', 'keys.w'], [null, 'keys.space'], ['Esc', 'keys.esc']];
const LANGUAGES = { en: 'English', de: 'Deutsch' };

export function settingsDialog({ conference, media, onoutput }) {
  const mic = deviceSelect(media, 'a0', 'audioinput', (id) => (settings.set('mic', id), media.setDevice('a0', id)));
  const camera = deviceSelect(media, 'v0', 'videoinput', (id) => (settings.set('camera', id), media.setDevice('v0', id)));
  const output = deviceSelect(media, 'out', 'audiooutput', (id) => (settings.set('output', id), (media.deviceIds.out = id), onoutput(id)));
  const canChoose = 'setSinkId' in HTMLMediaElement.prototype;
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
  const element = dialog(
    'settings-dialog',
    'settings.title',
    field('own-name', 'door.name', name),
    field('device-a0', 'door.mic', mic.select),
    field('device-v0', 'door.camera', camera.select),
    canChoose && field('device-out', 'settings.output', output.select),
    field('own-language', 'settings.language', lang),
    h('h3', { t: 'settings.keys' }),
    h('dl', { class: 'keys' }, KEYS.map(([key, text]) => h('div', {}, h('dt', {}, key ? h('kbd', {}, key) : h('kbd', { t: 'keys.spaceName' })), h('dd', { t: text })))),
  );
  const fill = () => [mic, camera, output].forEach((d) => d.fill());
  return {
    element,
    open() {
      name.value = conference.self?.name ?? '';
      lang.value = language();
      fill();
      media.refreshDevices().then(fill);
      element.showModal();
    },
  };
}
