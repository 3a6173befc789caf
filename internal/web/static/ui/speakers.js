// How long everybody has spoken, in a dialog that goes on counting.

import { h } from './dom.js';
import { displayName } from './common.js';
import { dialog } from './dialogs.js';
import { t } from '../i18n.js';

export function speakersDialog({ conference }) {
  const body = h('tbody', {});
  const table = h('table', { class: 'speakers' }, h('thead', {}, h('tr', {}, h('th', { scope: 'col', t: 'speakers.name' }), h('th', { scope: 'col', t: 'speakers.time' }))), body);
  const element = dialog('speakers', 'speakers.title', table);
  let timer = null;

  function draw() {
    const report = conference.speakers.report();
    const most = Math.max(1, ...report.map((r) => r.ms));
    const row = (r) => {
      const share = h('meter', { class: 'share', min: '0', max: '1', 'aria-hidden': 'true' });
      share.value = r.ms / most;
      const name = displayName(r) + (r.id === conference.id ? ` (${t('meeting.you')})` : '');
      return h('tr', { class: r.here ? '' : 'gone', 'data-id': r.id }, h('th', { scope: 'row' }, name, !r.here && h('small', {}, ` ${t('speakers.left')}`), share), h('td', {}, duration(r.ms)));
    };
    body.replaceChildren(...report.map(row));
  }

  element.addEventListener('close', () => clearInterval(timer));
  return {
    element,
    off: () => clearInterval(timer),
    open() {
      draw();
      timer = setInterval(draw, 1_000);
      element.showModal();
    },
  };
}

// duration writes ms as 0:07, 12:34 or 1:02:03.
export function duration(ms) {
  const s = Math.floor(ms / 1000);
  const two = (n) => String(n).padStart(2, '0');
  const h = Math.floor(s / 3600);
  return (h > 0 ? `${h}:${two(Math.floor(s / 60) % 60)}` : `${Math.floor(s / 60)}`) + `:${two(s % 60)}`;
}
