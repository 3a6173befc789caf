// Modal dialogs: their frame, a question with yes and no, and a question for a text.

import { h } from './dom.js';
import { icon } from './icons.js';
import { t } from '../i18n.js';

// dialog is the frame; it closes by its button, Escape and a click on the backdrop.
export function dialog(id, title, ...children) {
  const element = h(
    'dialog',
    { class: 'card', id, 'aria-labelledby': `${id}-title` },
    h('header', {}, h('h2', { id: `${id}-title`, t: title }), h('button', { class: 'quiet', type: 'button', label: 'panel.close', onclick: () => element.close() }, icon('close'))),
    ...children,
  );
  element.addEventListener('click', (ev) => ev.target === element && element.close()); // the backdrop
  return element;
}

// confirm resolves with whether the person agrees. text is what is asked, ok the key of the button.
export function confirm(text, ok) {
  return show('ask.confirm', h('p', {}, text), ok, () => true, false);
}

// prompt resolves with a text, or null. label and ok are keys.
export function prompt(label, ok, value = '', maxlength = 60) {
  const input = h('input', { id: 'ask-text', maxlength: String(maxlength), required: true, 'aria-label': t(label), value, autocomplete: 'off' });
  return show(label, input, ok, () => input.value.trim() || null, null);
}

function show(title, content, ok, answer, none) {
  return new Promise((resolve) => {
    const form = h('form', { method: 'dialog', class: 'ask' }, content);
    const element = dialog('ask', title, form);
    const accept = h('button', { class: 'primary', type: 'submit', t: ok });
    form.append(h('div', { class: 'buttons end' }, h('button', { type: 'button', t: 'ask.cancel', onclick: () => element.close() }), accept));
    let result = none;
    form.addEventListener('submit', () => (result = answer()));
    element.addEventListener('close', () => {
      element.remove();
      resolve(result);
    });
    document.getElementById('app').append(element);
    element.showModal();
    (form.querySelector('input') ?? accept).focus();
  });
}
