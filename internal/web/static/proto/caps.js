// What this client can do (XEP-0030, XEP-0115). The focus asks the occupant for it and shapes its offer accordingly:
//
//   json-encoded-sources              sources come as one json-message instead of <source/> elements
//   source-name, receive-multiple-... sources have names, and a person may send several video sources
//   dtls-sctp:1                       the offer has a data content; the bridge channel runs over SCTP
//   rfc:4588, tcc, remb               RTX, transport-wide feedback
//   x-konzil:flexfec                  video may be protected: a FEC-FR group tells the SSRC of repair packets; where the browser can (Chromium)
//   x-konzil:source-add-applied       a source-add is answered when its sources can be received, not when it was read
//
// Not announced on purpose: ssrc-rewriting-1 and rtp-mid-demux (each source keeps its own m-line here, which is easier to
// read), e2ee, and anything about peer-to-peer sessions.

import { el, NS } from './xml.js';

export const NODE = 'urn:x-konzil:meeting-page';

export const IDENTITY = { category: 'client', type: 'web', name: 'Konzil' };

// Repair packets are only asked for where they are understood.
const flexfec = () => globalThis.RTCRtpReceiver?.getCapabilities?.('video')?.codecs.some((c) => /^video\/flexfec-03$/i.test(c.mimeType));

export const FEATURES = [
  'http://jabber.org/protocol/caps',
  'http://jabber.org/protocol/disco#info',
  'http://jabber.org/protocol/muc',
  'http://jitsi.org/json-encoded-sources',
  'http://jitsi.org/receive-multiple-video-streams',
  'http://jitsi.org/source-name',
  'http://jitsi.org/tcc',
  'urn:ietf:rfc:4588',
  'urn:ietf:rfc:5761',
  'urn:ietf:rfc:5888',
  'urn:xmpp:jingle:1',
  'urn:xmpp:jingle:apps:dtls:0',
  'urn:xmpp:jingle:apps:rtp:1',
  'urn:xmpp:jingle:apps:rtp:audio',
  'urn:xmpp:jingle:apps:rtp:video',
  'urn:xmpp:jingle:transports:dtls-sctp:1',
  'urn:xmpp:jingle:transports:ice-udp:1',
  ...(flexfec() ? ['urn:x-konzil:flexfec'] : []),
  'urn:x-konzil:source-add-applied',
  'urn:xmpp:ping',
];

// verification is the string that is hashed (XEP-0115 §5.1).
export function verification(identity = IDENTITY, features = FEATURES) {
  return `${identity.category}/${identity.type}//${identity.name}<` + [...features].sort().map((f) => f + '<').join('');
}

export async function ver() {
  const digest = await crypto.subtle.digest('SHA-1', new TextEncoder().encode(verification()));
  return btoa(String.fromCharCode(...new Uint8Array(digest)));
}

// presenceElement is the <c/> of every presence.
export async function presenceElement() {
  return el('c', { xmlns: NS.caps, hash: 'sha-1', node: NODE, ver: await ver() });
}

// answer replies to disco#info queries, with or without our node#ver.
export function answer(_stanza, query) {
  return el(
    'query',
    { xmlns: NS.discoInfo, node: query.attr('node') },
    el('identity', IDENTITY),
    FEATURES.map((v) => el('feature', { var: v })),
  );
}
