// A menu of commands at a button. Arrow keys, Home and End move, Escape and Tab close, and the focus goes back to the button (WAI-ARIA
// Authoring Practices, menu button).

import { h } from './dom.js';
import { icon } from './icons.js';

const GAP = 6; // px between button and menu, and at least to the edge of the window

let close = null; // of the menu that is open

// openMenu shows items at a button: {text, icon, danger, checked, onclick}, or {row: [{text, label, checked, onclick}]} for small ones side by
// side; false ones are left out. A second time closes it.
export function openMenu(button, items) {
  const again = button.getAttribute('aria-expanded') === 'true';
  close?.();
  if (again) return;
  const element = h('div', { class: 'menu', role: 'menu' }, items.filter(Boolean).map(group));
  const host = button.closest('dialog') ?? document.getElementById('app');
  const done = () => {
    if (close !== done) return;
    close = null;
    const inside = element.contains(document.activeElement);
    element.remove();
    button.setAttribute('aria-expanded', 'false');
    document.removeEventListener('pointerdown', outside, true);
    removeEventListener('resize', done);
    if (inside && button.isConnected) button.focus();
  };
  const outside = (ev) => !element.contains(ev.target) && !button.contains(ev.target) && done();
  element.addEventListener('click', (ev) => ev.target.closest('button') && done(), true); // before the command, which may move the focus
  element.addEventListener('keydown', (ev) => keydown(ev, element, done));
  close = done;
  button.setAttribute('aria-haspopup', 'menu');
  button.setAttribute('aria-expanded', 'true');
  host.append(element);
  place(element, button);
  element.querySelector('button').focus();
  document.addEventListener('pointerdown', outside, true);
  addEventListener('resize', done);
}

function group(item) {
  if (item.row) return h('div', { class: 'menu-row' }, item.row.map((i) => entry(i, 'menu-emoji')));
  return entry(item, `menu-item${item.danger ? ' danger' : ''}`);
}

function entry({ text, label, icon: name, checked, onclick }, cls) {
  const role = checked === undefined ? 'menuitem' : 'menuitemcheckbox';
  const aria = { 'aria-label': label, 'aria-checked': checked === undefined ? undefined : String(checked) };
  return h('button', { class: cls, type: 'button', role, tabindex: '-1', ...aria, onclick }, name && icon(name), h('span', {}, text));
}

function keydown(ev, element, done) {
  const all = [...element.querySelectorAll('button')];
  const at = all.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowRight: at + 1, ArrowUp: at - 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[ev.key];
  if (ev.key === 'Escape' || ev.key === 'Tab') done();
  if (to !== undefined) all.at(to % all.length).focus();
  if (to !== undefined || ev.key === 'Escape') ev.preventDefault();
  if (ev.key !== 'Enter' && ev.key !== ' ') ev.stopPropagation(); // the page's own keys
}

// place puts the menu above or below the button, inside of the window.
function place(element, button) {
  const b = button.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = element;
  const left = Math.max(GAP, Math.min(b.left, innerWidth - width - GAP));
  const below = b.bottom + GAP;
  const top = below + height < innerHeight ? below : Math.max(GAP, b.top - height - GAP);
  element.style.setProperty('left', `${left}px`);
  element.style.setProperty('top', `${top}px`);
}
