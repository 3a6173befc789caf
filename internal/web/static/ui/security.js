// What moderators decide about the meeting: lobby, password, and who may switch on microphone, camera and screen.

import { h, setText } from './dom.js';
import { dialog } from './dialogs.js';
import { KINDS } from '../proto/moderation.js';

export function securityDialog({ conference }) {
  const { lobby, moderation } = conference;

  // onoff is a switch: what it shows comes from the server, not from the click.
  function onoff(id, key, hint, set) {
    const input = h('input', { type: 'checkbox', role: 'switch', id, 'aria-describedby': hint && `${id}-hint`, onchange: () => set(input.checked) });
    return { input, element: h('div', { class: 'switch' }, h('label', { for: id, t: key }), input, hint && h('p', { class: 'hint', id: `${id}-hint`, t: hint })) };
  }

  const knocking = onoff('security-lobby', 'security.lobby', 'security.lobbyHint', async (on) => (await lobby.setEnabled(on)) || draw());
  const kinds = KINDS.map((kind) => [kind, onoff(`security-${kind}`, `security.${kind}`, null, (on) => moderation.setModerated(kind, on))]);
  const password = h('input', { id: 'security-password', type: 'text', autocomplete: 'off', maxlength: '60', required: true, spellcheck: 'false', autocapitalize: 'none' });
  const set = h('button', { class: 'primary', type: 'submit', id: 'security-set' });
  const remove = h('button', { type: 'button', id: 'security-remove', t: 'security.removePassword', onclick: () => (password.focus(), moderation.setPassword('')) }); // it will be hidden
  const state = h('p', { class: 'hint', id: 'security-state', role: 'status' });
  const form = h(
    'form',
    {
      class: 'field',
      onsubmit: async (ev) => {
        ev.preventDefault();
        if (await moderation.setPassword(password.value)) password.value = '';
      },
    },
    h('label', { for: 'security-password', t: 'security.password' }),
    h('div', { class: 'joined' }, password, set),
    h('div', { class: 'joined spread' }, state, remove),
  );
  const door = h('section', {}, h('h3', { t: 'security.door' }), knocking.element, form);
  const elsewhere = h('p', { class: 'hint', t: 'security.elsewhere' });
  const voices = h('section', {}, h('h3', { t: 'security.moderation' }), h('p', { class: 'hint', t: 'security.moderationHint' }), kinds.map(([, k]) => k.element));
  const element = dialog('security', 'security.title', elsewhere, door, voices);

  function draw() {
    const { info } = conference;
    elsewhere.hidden = !info?.breakout;
    door.hidden = Boolean(info?.breakout);
    knocking.element.hidden = !lobby.supported;
    knocking.input.checked = lobby.enabled;
    voices.hidden = !moderation.supported;
    for (const [kind, k] of kinds) k.input.checked = moderation.moderated[kind];
    setText(set, info?.locked ? 'security.change' : 'security.set');
    setText(state, info?.locked ? 'security.locked' : 'security.open');
    remove.hidden = !info?.locked;
    if (element.open && !conference.isModerator) element.close();
  }

  const offs = [conference.on('info', draw), conference.on('self', draw), moderation.on('change', draw)];
  return { element, off: () => offs.forEach((f) => f()), open: () => (draw(), element.showModal()) };
}
