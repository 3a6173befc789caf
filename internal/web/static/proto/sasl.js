// SASL mechanisms of the client (RFC 4422): ANONYMOUS for guests; SCRAM (RFC 5802, RFC 7677) and, where nothing better is
// offered, PLAIN (RFC 4616) for accounts. TLS protects the whole: the page is served over https, or from localhost.

const enc = new TextEncoder();
const dec = new TextDecoder();

export const b64 = (bytes) => btoa(String.fromCharCode(...bytes));
export const unb64 = (s) => Uint8Array.from(atob(s), (c) => c.charCodeAt(0));

const SCRAM_HASHES = { 'SCRAM-SHA-256': 'SHA-256', 'SCRAM-SHA-1': 'SHA-1' };

// pick chooses the strongest mechanism that can be used; null: none.
export function pick(offered, credentials) {
  if (!credentials) return offered.includes('ANONYMOUS') ? 'ANONYMOUS' : null;
  return ['SCRAM-SHA-256', 'SCRAM-SHA-1', 'PLAIN'].find((m) => offered.includes(m)) ?? null;
}

// begin starts an exchange: {initial, respond(challenge), verify(successData)}. All data are bytes.
export async function begin(mechanism, credentials) {
  if (mechanism === 'ANONYMOUS') return { initial: new Uint8Array(), respond: refuse, verify: async () => {} };
  if (mechanism === 'PLAIN') {
    return { initial: enc.encode(`\0${credentials.user}\0${credentials.password}`), respond: refuse, verify: async () => {} };
  }
  return scram(SCRAM_HASHES[mechanism], credentials);
}

async function refuse() {
  throw new Error('unexpected SASL challenge');
}

// MAX_ITERATIONS bounds the work that a hostile server can make us do (RFC 5802 §9 leaves the number open).
const MAX_ITERATIONS = 1_000_000;

export async function scram(hash, { user, password }, nonce = b64(crypto.getRandomValues(new Uint8Array(18)))) {
  const name = user.normalize('NFKC').replace(/=/g, '=3D').replace(/,/g, '=2C');
  const bare = `n=${name},r=${nonce}`;
  let serverSignature;
  const hmac = async (key, data) => {
    const k = await crypto.subtle.importKey('raw', key, { name: 'HMAC', hash }, false, ['sign']);
    return new Uint8Array(await crypto.subtle.sign('HMAC', k, data));
  };
  return {
    initial: enc.encode('n,,' + bare),
    async respond(challenge) {
      const first = dec.decode(challenge);
      const f = Object.fromEntries(first.split(',').map((p) => [p[0], p.slice(2)]));
      const iterations = Number(f.i);
      if (!f.r?.startsWith(nonce) || f.r === nonce || !f.s || !(iterations >= 1 && iterations <= MAX_ITERATIONS)) throw new Error('bad SCRAM challenge');
      const key = await crypto.subtle.importKey('raw', enc.encode(password.normalize('NFKC')), 'PBKDF2', false, ['deriveBits']);
      const bits = hash === 'SHA-1' ? 160 : 256;
      const salted = new Uint8Array(await crypto.subtle.deriveBits({ name: 'PBKDF2', hash, salt: unb64(f.s), iterations }, key, bits));
      const clientKey = await hmac(salted, enc.encode('Client Key'));
      const storedKey = new Uint8Array(await crypto.subtle.digest(hash, clientKey));
      const withoutProof = `c=biws,r=${f.r}`;
      const auth = enc.encode(`${bare},${first},${withoutProof}`);
      const signature = await hmac(storedKey, auth);
      serverSignature = b64(await hmac(await hmac(salted, enc.encode('Server Key')), auth));
      return enc.encode(`${withoutProof},p=${b64(clientKey.map((b, i) => b ^ signature[i]))}`);
    },
    // verify makes sure that the server knows the password's verifier too (RFC 5802 §3).
    async verify(data) {
      if (!serverSignature || dec.decode(data) !== `v=${serverSignature}`) throw new Error('server signature does not match');
    },
  };
}
