// XML as plain objects: what is parsed and what is built has one form, so that every other protocol module can run
// (and be tested) without a DOM. An element knows its resolved namespace; toString() declares namespaces where they change.

export class El {
  constructor(name, ns, attrs = {}, children = []) {
    this.name = name; // local name
    this.ns = ns; // resolved namespace, or null: that of the parent
    this.attrs = attrs;
    this.children = children; // El or string
  }

  attr(name) {
    return this.attrs[name];
  }

  get text() {
    return this.children.map((c) => (typeof c === 'string' ? c : c.text)).join('');
  }

  // child finds the first child element with that name, and namespace when given.
  child(name, ns) {
    return this.children.find((c) => c instanceof El && c.name === name && (ns === undefined || c.ns === ns));
  }

  // all gives every child element, or those with that name (and namespace).
  all(name, ns) {
    return this.children.filter((c) => c instanceof El && (name === undefined || c.name === name) && (ns === undefined || c.ns === ns));
  }

  // add appends children and returns the element.
  add(...children) {
    this.children.push(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
    return this;
  }

  toString(parentNS = null) {
    const ns = this.ns ?? parentNS;
    let out = '<' + this.name;
    if (ns !== parentNS && ns !== null) out += ` xmlns='${escape(ns)}'`;
    for (const [k, v] of Object.entries(this.attrs)) {
      if (v !== undefined && v !== null) out += ` ${k}='${escape(String(v))}'`;
    }
    if (this.children.length === 0) return out + '/>';
    out += '>';
    for (const c of this.children) out += typeof c === 'string' ? escape(c) : c.toString(ns);
    return out + `</${this.name}>`;
  }
}

// el builds an element: el('x', {xmlns: NS, a: 1}, child, 'text').
export function el(name, attrs = {}, ...children) {
  const { xmlns, ...rest } = attrs ?? {};
  return new El(name, xmlns ?? null, rest).add(...children);
}

// Characters that XML 1.0 §2.2 does not allow at all; a server must close the stream on them.
const ILLEGAL = /[\u0000-\u0008\u000B\u000C\u000E-\u001F\uFFFE\uFFFF]|[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g;

// escape makes text safe inside an element or attribute.
export function escape(s) {
  return s
    .replace(ILLEGAL, '')
    .replace(/&/g, '&amp;')
    .replace(/</g, '&lt;')
    .replace(/>/g, '&gt;')
    .replace(/'/g, '&apos;')
    .replace(/"/g, '&quot;');
}

// parse reads one element (a WebSocket frame, RFC 7395 §3.3.3) with the browser's parser. It throws on text that is no XML.
export function parse(text) {
  const doc = new DOMParser().parseFromString(text, 'application/xml');
  if (doc.getElementsByTagName('parsererror').length > 0) throw new Error('not well-formed: ' + text.slice(0, 80));
  return fromDOM(doc.documentElement);
}

function fromDOM(node) {
  const attrs = {};
  for (const a of node.attributes) {
    if (a.name !== 'xmlns' && !a.name.startsWith('xmlns:')) attrs[a.name] = a.value;
  }
  const children = [];
  for (const c of node.childNodes) {
    if (c.nodeType === 1) children.push(fromDOM(c));
    else if (c.nodeType === 3 || c.nodeType === 4) children.push(c.nodeValue);
  }
  return new El(node.localName, node.namespaceURI, attrs, children);
}

export const NS = {
  client: 'jabber:client',
  framing: 'urn:ietf:params:xml:ns:xmpp-framing',
  sasl: 'urn:ietf:params:xml:ns:xmpp-sasl',
  bind: 'urn:ietf:params:xml:ns:xmpp-bind',
  stanzas: 'urn:ietf:params:xml:ns:xmpp-stanzas',
  sm: 'urn:xmpp:sm:3',
  ping: 'urn:xmpp:ping',
  extdisco: 'urn:xmpp:extdisco:2',
  discoInfo: 'http://jabber.org/protocol/disco#info',
  caps: 'http://jabber.org/protocol/caps',
  delay: 'urn:xmpp:delay',
  nick: 'http://jabber.org/protocol/nick',
  muc: 'http://jabber.org/protocol/muc',
  mucUser: 'http://jabber.org/protocol/muc#user',
  mucAdmin: 'http://jabber.org/protocol/muc#admin',
  mucOwner: 'http://jabber.org/protocol/muc#owner',
  dataForms: 'jabber:x:data',
  correct: 'urn:xmpp:message-correct:0',
  retract: 'urn:xmpp:message-retract:1',
  moderate: 'urn:xmpp:message-moderate:1',
  fasten: 'urn:xmpp:fasten:0',
  fallback: 'urn:xmpp:fallback:0',
  reactions: 'urn:xmpp:reactions:0',
  reply: 'urn:xmpp:reply:0',
  hints: 'urn:xmpp:hints',
  focus: 'http://jitsi.org/protocol/focus',
  jitmeet: 'http://jitsi.org/jitmeet',
  muteAudio: 'http://jitsi.org/jitmeet/audio',
  muteVideo: 'http://jitsi.org/jitmeet/video',
  muteDesktop: 'http://jitsi.org/jitmeet/desktop',
  jibri: 'http://jitsi.org/protocol/jibri',
  startMuted: 'http://jitsi.org/jitmeet/start-muted',
  jingle: 'urn:xmpp:jingle:1',
  jingleErrors: 'urn:xmpp:jingle:errors:1',
  rtp: 'urn:xmpp:jingle:apps:rtp:1',
  rtcpFb: 'urn:xmpp:jingle:apps:rtp:rtcp-fb:0',
  hdrext: 'urn:xmpp:jingle:apps:rtp:rtp-hdrext:0',
  ssma: 'urn:xmpp:jingle:apps:rtp:ssma:0',
  ice: 'urn:xmpp:jingle:transports:ice-udp:1',
  dtls: 'urn:xmpp:jingle:apps:dtls:0',
  sctp: 'urn:xmpp:jingle:transports:dtls-sctp:1',
  grouping: 'urn:xmpp:jingle:apps:grouping:0',
  colibri: 'http://jitsi.org/protocol/colibri',
};
