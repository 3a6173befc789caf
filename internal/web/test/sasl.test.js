import assert from 'node:assert/strict';
import { webcrypto } from 'node:crypto';
import { test } from 'node:test';
import { begin, pick, scram, unb64 } from '../static/proto/sasl.js';

globalThis.crypto ??= webcrypto; // Debian 12's Node 18 has it in a module only

const enc = new TextEncoder();
const dec = new TextDecoder();

test('SCRAM-SHA-1 as in RFC 5802 §5', async () => {
  const x = await scram('SHA-1', { user: 'user', password: 'pencil' }, 'fyko+d2lbbFgONRv9qkxdawL');
  assert.equal(dec.decode(x.initial), 'n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL');
  const final = await x.respond(enc.encode('r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096'));
  assert.equal(dec.decode(final), 'c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=');
  await x.verify(enc.encode('v=rmF9pqV8S7suAoZWja4dJRkFsKQ='));
  await assert.rejects(x.verify(enc.encode('v=AAAAAAAAAAAAAAAAAAAAAAAAAAA=')));
});

test('SCRAM-SHA-256 as in RFC 7677 §3', async () => {
  const x = await scram('SHA-256', { user: 'user', password: 'pencil' }, 'rOprNGfwEbeRWgbNEkqO');
  const final = await x.respond(enc.encode('r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096'));
  assert.match(dec.decode(final), /p=dHzbZapWIk4jUhN\+Ute9ytag9zjfMHgsqmmiz7AndVQ=$/);
  await x.verify(enc.encode('v=6rriTRBi23WpRR\/wtup+mMhUZUn\/dB5nLTJRsjl95G4='));
});

test('challenges that could be an attack are refused', async () => {
  for (const challenge of ['r=other,s=QSXCR+Q6sek8bf92,i=4096', 'r=nonce,s=QSXCR+Q6sek8bf92,i=4096', 'r=nonceX,s=QSXCR+Q6sek8bf92,i=999999999', 'r=nonceX,s=QSXCR+Q6sek8bf92']) {
    const x = await scram('SHA-1', { user: 'u', password: 'p' }, 'nonce');
    await assert.rejects(x.respond(enc.encode(challenge)), challenge);
  }
});

test('PLAIN, and the choice of a mechanism', async () => {
  assert.equal(dec.decode((await begin('PLAIN', { user: 'a', password: 'b' })).initial), '\0a\0b');
  assert.equal(pick(['PLAIN', 'SCRAM-SHA-1', 'ANONYMOUS'], { user: 'a' }), 'SCRAM-SHA-1');
  assert.equal(pick(['PLAIN', 'ANONYMOUS'], null), 'ANONYMOUS');
  assert.equal(pick(['PLAIN'], null), null);
  assert.deepEqual(unb64('AAE='), new Uint8Array([0, 1]));
});
