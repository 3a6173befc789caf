// Jingle (XEP-0166, XEP-0167, XEP-0176, XEP-0320, XEP-0338, XEP-0339) between the focus and us, as plain objects.
//
//   Offer   {sid, initiator, contents: {audio, video, data}, transport, bridgeSession, startMuted, sources}
//   Content {payloads: [{id, name, clockrate, channels, params: [[name, value]], feedback: [{type, subtype}]}], extensions: [{id, uri}]}
//   Source  {name, owner, kind: 'audio'|'video', videoType, msid, ssrcs: [number], groups: [{semantics, ssrcs}]}
//
// No DOM and no SDP here: sdp.js makes a session description of an Offer, and reads ours back.

import { el, NS } from './xml.js';

const MAX_SSRC = 0xffffffff;
const MAX_SOURCES = 2000; // of one stanza; a meeting has fewer

const ssrcOf = (v) => {
  const n = Number(v);
  return Number.isInteger(n) && n > 0 && n <= MAX_SSRC ? n : null;
};

// ---- reading ----

export function parseOffer(jingle) {
  const contents = {};
  let transport = null;
  for (const c of jingle.all('content')) {
    const name = c.attr('name');
    const t = c.child('transport', NS.ice);
    if (t && !transport) transport = parseTransport(t);
    if (name === 'data') contents.data = { port: ssrcOf(t?.child('sctpmap', NS.sctp)?.attr('number')) ?? 5000 };
    else if (name === 'audio' || name === 'video') contents[name] = parseDescription(c.child('description', NS.rtp));
  }
  const bridge = jingle.child('bridge-session', NS.focus);
  const muted = jingle.child('startmuted', NS.startMuted);
  return {
    sid: jingle.attr('sid'),
    initiator: jingle.attr('initiator'),
    contents,
    transport,
    bridgeSession: bridge ? bridge.attr('id') : null,
    startMuted: { audio: muted?.attr('audio') === 'true', video: muted?.attr('video') === 'true' },
    sources: parseSources(jingle),
  };
}

function parseDescription(d) {
  return {
    payloads: d.all('payload-type', NS.rtp).map((p) => ({
      id: Number(p.attr('id')),
      name: p.attr('name'),
      clockrate: Number(p.attr('clockrate')),
      channels: Number(p.attr('channels') ?? 1),
      params: p.all('parameter').map((x) => [x.attr('name') ?? '', x.attr('value') ?? '']),
      feedback: p.all('rtcp-fb', NS.rtcpFb).map((x) => ({ type: x.attr('type'), subtype: x.attr('subtype') })),
    })),
    extensions: d.all('rtp-hdrext', NS.hdrext).map((x) => ({ id: Number(x.attr('id')), uri: x.attr('uri') })),
  };
}

function parseTransport(t) {
  const fp = t.child('fingerprint', NS.dtls);
  return {
    ufrag: t.attr('ufrag'),
    pwd: t.attr('pwd'),
    fingerprint: fp && { hash: fp.attr('hash'), setup: fp.attr('setup'), value: fp.text.trim() },
    candidates: t.all('candidate', NS.ice).map((c) => ({ ...c.attrs })),
    webSocket: t.child('web-socket', NS.colibri)?.attr('url') ?? null,
  };
}

// parseSources reads both encodings: the json-message of current clients, and <source/> elements in the contents.
export function parseSources(jingle) {
  const json = jingle.child('json-message', NS.jitmeet);
  const out = json ? parseJSONSources(json.text) : [];
  for (const c of jingle.all('content')) {
    const d = c.child('description', NS.rtp);
    if (d) out.push(...parseXMLSources(d, d.attr('media') ?? c.attr('name')));
  }
  return out.slice(0, MAX_SOURCES);
}

// {"sources": {OWNER: [video, video groups, audio, audio groups]}}, a source {s: ssrc, n: name, m: msid, v: 'd' for desktop},
// a group ['f', primary, rtx] or ['s', layer, layer, layer].
function parseJSONSources(text) {
  const out = [];
  let sources;
  try {
    ({ sources } = JSON.parse(text));
  } catch {
    return out;
  }
  for (const [owner, lists] of Object.entries(sources ?? {})) {
    if (!Array.isArray(lists)) continue;
    const [video = [], videoGroups = [], audio = [], audioGroups = []] = lists;
    out.push(...collect(owner, 'video', video, videoGroups), ...collect(owner, 'audio', audio, audioGroups));
  }
  return out;
}

function collect(owner, kind, list, groups) {
  const byName = new Map();
  for (const { s, n, m, v } of list) {
    const ssrc = ssrcOf(s);
    if (!ssrc) continue;
    const name = n ?? `${owner}-${kind[0]}0`;
    if (!byName.has(name)) {
      byName.set(name, { name, owner: bareOwner(owner), kind, videoType: kind === 'video' ? (v === 'd' ? 'desktop' : 'camera') : undefined, msid: m ?? '', ssrcs: [], groups: [] });
    }
    byName.get(name).ssrcs.push(ssrc);
  }
  for (const [semantics, ...ssrcs] of groups) {
    const numbers = ssrcs.map(ssrcOf);
    const source = [...byName.values()].find((x) => numbers.length > 1 && numbers.every((n) => x.ssrcs.includes(n)));
    source?.groups.push({ semantics: { f: 'FID', s: 'SIM' }[semantics] ?? String(semantics), ssrcs: numbers });
  }
  return [...byName.values()];
}

function parseXMLSources(description, kind) {
  const byKey = new Map();
  for (const s of description.all('source', NS.ssma)) {
    const ssrc = ssrcOf(s.attr('ssrc'));
    if (!ssrc) continue;
    const owner = bareOwner(s.child('ssrc-info', NS.jitmeet)?.attr('owner') ?? s.attr('name')?.replace(/-[av]\d+$/, '') ?? '');
    const name = s.attr('name') ?? `${owner}-${kind[0]}0`;
    if (!byKey.has(name)) {
      const msid = s.all('parameter').find((p) => p.attr('name') === 'msid')?.attr('value') ?? '';
      byKey.set(name, { name, owner, kind, videoType: kind === 'video' ? (s.attr('videoType') ?? 'camera') : undefined, msid, ssrcs: [], groups: [] });
    }
    byKey.get(name).ssrcs.push(ssrc);
  }
  for (const g of description.all('ssrc-group', NS.ssma)) {
    const ssrcs = g.all('source').map((s) => ssrcOf(s.attr('ssrc')));
    const source = [...byKey.values()].find((x) => ssrcs.length > 1 && ssrcs.every((n) => x.ssrcs.includes(n)));
    source?.groups.push({ semantics: g.attr('semantics'), ssrcs });
  }
  return [...byKey.values()];
}

// Owners are endpoint ids, or (older servers) full occupant addresses.
const bareOwner = (owner) => owner.slice(owner.lastIndexOf('/') + 1);

// ---- writing ----

function jingle(action, session, ...children) {
  return el('iq', { type: 'set', to: session.peer }, el('jingle', { xmlns: NS.jingle, action, sid: session.sid, initiator: session.initiator }, ...children));
}

// accept is the session-accept: description as parsed from our answer by sdp.parseAnswer, sources our own.
export function accept(session, responder, description, sources) {
  const contents = ['audio', 'video', 'data']
    .filter((name) => description.media[name])
    .map((name) => {
      const m = description.media[name];
      const transport = transportElement(description.transport, name === 'data' ? m.port : null);
      if (name === 'data') return el('content', { creator: 'initiator', name, senders: 'both' }, el('description', { xmlns: NS.rtp, media: 'application' }), transport);
      const d = el(
        'description',
        { xmlns: NS.rtp, media: name },
        m.payloads.map(payloadElement),
        m.extensions.map((x) => el('rtp-hdrext', { xmlns: NS.hdrext, id: x.id, uri: x.uri })),
        el('rtcp-mux'),
        sourceElements(sources.filter((s) => s.kind === name)),
      );
      return el('content', { creator: 'initiator', name, senders: 'both' }, d, transport);
    });
  const group = el('group', { xmlns: NS.grouping, semantics: 'BUNDLE' }, contents.map((c) => el('content', { name: c.attr('name') })));
  const iq = jingle('session-accept', session, contents, group);
  iq.child('jingle').attrs.responder = responder;
  return iq;
}

// sourceChange is source-add or source-remove.
export function sourceChange(action, session, sources) {
  const contents = ['audio', 'video']
    .map((kind) => [kind, sources.filter((s) => s.kind === kind)])
    .filter(([, list]) => list.length > 0)
    .map(([kind, list]) =>
      el('content', { creator: 'initiator', name: kind, senders: 'both' }, el('description', { xmlns: NS.rtp, media: kind }, sourceElements(list))),
    );
  return jingle(action, session, contents);
}

// terminate ends the session; restart asks the focus for a new one.
export function terminate(session, reason, restart = false) {
  return jingle(
    'session-terminate',
    session,
    el('reason', {}, el(reason)),
    session.bridgeSession && el('bridge-session', { xmlns: NS.focus, id: session.bridgeSession, restart: restart ? 'true' : undefined }),
  );
}

function sourceElements(sources) {
  return sources.flatMap((s) => [
    ...s.ssrcs.map((ssrc) =>
      el('source', { xmlns: NS.ssma, ssrc, name: s.name, videoType: s.videoType }, el('parameter', { name: 'msid', value: s.msid })),
    ),
    ...s.groups.map((g) => el('ssrc-group', { xmlns: NS.ssma, semantics: g.semantics }, g.ssrcs.map((ssrc) => el('source', { ssrc })))),
  ]);
}

function payloadElement(p) {
  return el(
    'payload-type',
    { id: p.id, name: p.name, clockrate: p.clockrate, channels: p.channels > 1 ? p.channels : undefined },
    p.params.map(([name, value]) => el('parameter', { name: name || undefined, value })),
    p.feedback.map((f) => el('rtcp-fb', { xmlns: NS.rtcpFb, type: f.type, subtype: f.subtype })),
  );
}

function transportElement(t, sctpPort) {
  return el(
    'transport',
    { xmlns: NS.ice, ufrag: t.ufrag, pwd: t.pwd },
    el('rtcp-mux'),
    el('fingerprint', { xmlns: NS.dtls, hash: t.fingerprint.hash, setup: t.fingerprint.setup }, t.fingerprint.value),
    sctpPort && el('sctpmap', { xmlns: NS.sctp, number: sctpPort, protocol: 'webrtc-datachannel', streams: '1024' }),
  );
}
