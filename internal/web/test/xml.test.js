import assert from 'node:assert/strict';
import { test } from 'node:test';
import { el, escape } from '../static/proto/xml.js';

test('namespaces are declared where they change, and text is escaped', () => {
  const x = el('iq', { xmlns: 'jabber:client', type: 'set', none: undefined }, el('query', { xmlns: 'q' }, el('item', { a: '<"\'&' }, 'a < b'), null), el('c'));
  assert.equal(
    x.toString(),
    "<iq xmlns='jabber:client' type='set'><query xmlns='q'><item a='&lt;&quot;&apos;&amp;'>a &lt; b</item></query><c/></iq>",
  );
});

test('what XML cannot carry is left out', () => {
  assert.equal(escape('a\u0000b\ud800c\uffff\u{1f600}\n'), 'abc\u{1f600}\n');
});
