// Building the page: h() makes elements from objects. Text always goes in as text nodes; nothing here parses HTML.

import { t } from '../i18n.js';

// h('button', {class: 'x', onclick: f, t: 'key'}, ...children). Special properties: t (translated text), label (translated
// aria-label, for buttons also a tooltip), placeholder (translated); both are remembered, so that translate() can renew them.
export function h(tag, props = {}, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(props ?? {})) {
    if (v === undefined || v === null || v === false) continue;
    if (k === 't') setText(e, v);
    else if (k === 'label') setLabel(e, v);
    else if (k === 'placeholder') ((e.dataset.tPlaceholder = v), (e.placeholder = t(v)));
    else if (k.startsWith('on')) e.addEventListener(k.slice(2), v);
    else if (k === 'class') e.className = v;
    else if (k in e && typeof v !== 'string') e[k] = v;
    else e.setAttribute(k, v === true ? '' : v);
  }
  e.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return e;
}

export function setText(e, key) {
  e.dataset.t = key;
  e.textContent = t(key);
}

export function setLabel(e, key) {
  e.dataset.tLabel = key;
  e.setAttribute('aria-label', t(key));
  if (e.tagName === 'BUTTON') e.title = t(key); // a tooltip over everything else would only be in the way
}

// translate renews every remembered text below root after the language changed.
export function translate(root = document) {
  for (const e of root.querySelectorAll('[data-t]')) e.textContent = t(e.dataset.t);
  for (const e of root.querySelectorAll('[data-t-label]')) setLabel(e, e.dataset.tLabel);
  for (const e of root.querySelectorAll('[data-t-placeholder]')) e.placeholder = t(e.dataset.tPlaceholder);
}

// announce tells screen readers something that others see.
export function announce(text) {
  const live = document.getElementById('live');
  live.textContent = '';
  requestAnimationFrame(() => (live.textContent = text));
}

// calmly gives a function that draws what is in element, only not while a pointer is pressed there: what is replaced between press and
// release takes the click with it.
export function calmly(element, draw) {
  let pressed = false;
  let due = false;
  const release = () => {
    removeEventListener('pointerup', release);
    removeEventListener('pointercancel', release);
    setTimeout(() => {
      pressed = false; // after the click
      if (due) draw();
      due = false;
    });
  };
  element.addEventListener('pointerdown', () => {
    pressed = true;
    addEventListener('pointerup', release);
    addEventListener('pointercancel', release);
  });
  return () => {
    due = pressed;
    if (!pressed) draw();
  };
}

const SVG = 'http://www.w3.org/2000/svg';

// svg draws an icon of icons.js.
export function svg(paths) {
  const s = document.createElementNS(SVG, 'svg');
  s.setAttribute('viewBox', '0 0 24 24');
  s.setAttribute('class', 'icon');
  s.setAttribute('aria-hidden', 'true');
  s.setAttribute('focusable', 'false');
  for (const d of paths) {
    const p = document.createElementNS(SVG, 'path');
    p.setAttribute('d', d);
    s.append(p);
  }
  return s;
}
