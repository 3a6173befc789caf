import assert from 'node:assert/strict';
import { test } from 'node:test';
import { choose, setLanguage, t, texts } from '../static/i18n.js';

test('every language has the same keys and the same parameters', () => {
  const params = (s) => [...s.matchAll(/\{\w+\}/g)].map((m) => m[0]).sort();
  for (const [lang, table] of Object.entries(texts)) {
    assert.deepEqual(Object.keys(table).sort(), Object.keys(texts.en).sort(), lang);
    for (const [key, text] of Object.entries(table)) assert.deepEqual(params(text), params(texts.en[key]), `${lang} ${key}`);
  }
});

test('the first known language of a list is chosen', () => {
  assert.equal(choose(['fr-FR', 'de-AT', 'en']), 'de');
  assert.equal(choose(['ja']), 'en');
});

test('parameters are filled in, also those that look like patterns', () => {
  setLanguage('de');
  assert.equal(t('notice.joined', { name: '$& {name}' }), '$& {name} ist da');
  setLanguage('en');
  assert.equal(t('no.such.key'), 'no.such.key');
});
