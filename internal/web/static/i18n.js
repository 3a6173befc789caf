// The page's languages (texts/). t('key', {name}) fills in {name}; a missing key shows itself.

import { de } from './texts/de.js';
import { en } from './texts/en.js';

export const texts = { en, de };

let current = 'en';
const listeners = new Set();

export const languages = Object.keys(texts);
export const language = () => current;

// choose takes the first language that we have of a list such as navigator.languages.
export function choose(wanted) {
  return wanted.map((l) => l.toLowerCase().split('-')[0]).find((l) => l in texts) ?? 'en';
}

export function setLanguage(lang) {
  if (!(lang in texts)) return;
  current = lang;
  for (const fn of listeners) fn(lang);
}

export function onLanguage(fn) {
  listeners.add(fn);
  return () => listeners.delete(fn);
}

export function t(key, params = {}) {
  const text = texts[current][key] ?? texts.en[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (m, name) => params[name] ?? m);
}
