// The frame of a side panel: a heading, a button that closes it, and what is in it.

import { h } from './dom.js';
import { icon } from './icons.js';

export function panel(id, title, onclose, ...children) {
  return h(
    'aside',
    { class: 'panel', id: `panel-${id}`, 'aria-labelledby': `panel-${id}-title` },
    h('header', {}, h('h2', { id: `panel-${id}-title`, t: title }), h('button', { class: 'quiet', type: 'button', label: 'panel.close', onclick: onclose }, icon('close'))),
    ...children,
  );
}
