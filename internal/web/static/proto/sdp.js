// Session descriptions of the plain objects of jingle.js, and back. The server offers, we answer, always: each change is a new
// offer that is written here from the session's slots, one m-line (and so one transceiver) per slot:
//
//   mid 0   audio        our microphone; the bridge's own feedback source jvb-a0 comes back on it
//   mid 1   video        our camera; jvb-v0
//   mid 2   application  the bridge channel
//   mid 3.. one source of somebody else each (sendonly), or our screen (recvonly); free slots are inactive and are used again
//
// All of it is pure text work without WebRTC, so that it is tested outside of browsers.

const CODEC_ORDER = ['vp8', 'vp9', 'h264', 'av1']; // VP8 first: it is what we send; the others may be received

// clean keeps foreign text from breaking out of its line of SDP.
const clean = (s) => String(s ?? '').replace(/[\u0000-\u0020\u007f]/g, '_');
const cleanLine = (s) => String(s ?? '').replace(/[\u0000-\u001f\u007f]/g, '_');

// buildOffer writes the remote description. slots: [{mid, kind, direction, source, rids}] in the order of their mids.
export function buildOffer({ offer, slots, sessionId, version }) {
  const lines = [
    'v=0',
    `o=- ${sessionId} ${version} IN IP4 0.0.0.0`,
    's=-',
    't=0 0',
    `a=group:BUNDLE ${slots.map((s) => s.mid).join(' ')}`,
    'a=extmap-allow-mixed',
    'a=msid-semantic: WMS *',
  ];
  for (const slot of slots) {
    lines.push(...(slot.kind === 'application' ? dataSection(slot, offer) : mediaSection(slot, offer)));
  }
  return lines.join('\r\n') + '\r\n';
}

const MID = 'urn:ietf:params:rtp-hdrext:sdes:mid';

// withoutMID is an offer without the header extension for MIDs (RFC 9143 §14), for Firefox. Where it has agreed to that, an m-line changes to
// any SSRC that it is given: while there is one m-line for audio alone, all audio is given to it (by payload type), and the sound of somebody
// whose source-add is still to be applied stays there for good, on our own microphone's. Without it an m-line keeps the SSRC that its offer
// names. Chromium must have the extension: without it, it goes by payload type.
export function withoutMID(offer) {
  const strip = (c) => (c?.extensions ? { ...c, extensions: c.extensions.filter((x) => x.uri !== MID) } : c);
  return { ...offer, contents: Object.fromEntries(Object.entries(offer.contents).map(([kind, c]) => [kind, strip(c)])) };
}

function mediaSection(slot, offer) {
  const content = offer.contents[slot.kind];
  const payloads = slot.kind === 'video' ? byPreference(content.payloads) : content.payloads;
  return [
    `m=${slot.kind} 9 UDP/TLS/RTP/SAVPF ${payloads.map((p) => p.id).join(' ')}`,
    'c=IN IP4 0.0.0.0',
    'a=rtcp:9 IN IP4 0.0.0.0',
    ...transportLines(offer.transport),
    `a=mid:${slot.mid}`,
    `a=${slot.direction}`,
    'a=rtcp-mux',
    'a=rtcp-rsize',
    ...payloads.flatMap(payloadLines),
    ...content.extensions.map((x) => `a=extmap:${x.id} ${clean(x.uri)}`),
    ...(slot.source ? sourceLines(slot.source) : []),
    ...(slot.rids ? ridLines(slot.rids) : []),
  ];
}

function dataSection(slot, offer) {
  return [
    'm=application 9 UDP/DTLS/SCTP webrtc-datachannel',
    'c=IN IP4 0.0.0.0',
    ...transportLines(offer.transport),
    `a=mid:${slot.mid}`,
    `a=sctp-port:${offer.contents.data.port}`,
    'a=max-message-size:262144',
  ];
}

function transportLines(t) {
  return [
    `a=ice-ufrag:${clean(t.ufrag)}`,
    `a=ice-pwd:${clean(t.pwd)}`,
    'a=ice-options:trickle',
    `a=fingerprint:${clean(t.fingerprint.hash)} ${clean(t.fingerprint.value)}`,
    `a=setup:${clean(t.fingerprint.setup ?? 'actpass')}`,
    ...t.candidates.map(candidateLine),
  ];
}

function candidateLine(c) {
  let line = `a=candidate:${clean(c.foundation)} ${clean(c.component)} ${clean(c.protocol)} ${clean(c.priority)} ${clean(c.ip)} ${clean(c.port)} typ ${clean(c.type)}`;
  if (c['rel-addr']) line += ` raddr ${clean(c['rel-addr'])} rport ${clean(c['rel-port'])}`;
  if (c.tcptype) line += ` tcptype ${clean(c.tcptype)}`;
  return line + ` generation ${clean(c.generation ?? 0)}`;
}

function payloadLines(p) {
  const channels = p.channels > 1 ? `/${p.channels}` : '';
  const params = p.params.map(([k, v]) => (k ? `${cleanLine(k)}=${cleanLine(v)}` : cleanLine(v))).join(';').replace(/;+$/, '');
  return [
    `a=rtpmap:${p.id} ${clean(p.name)}/${p.clockrate}${channels}`,
    ...(params ? [`a=fmtp:${p.id} ${params}`] : []),
    ...p.feedback.map((f) => `a=rtcp-fb:${p.id} ${clean(f.type)}${f.subtype ? ' ' + clean(f.subtype) : ''}`),
  ];
}

function sourceLines(s) {
  const msid = `${clean(s.name)} ${clean(s.name)}`;
  return [
    `a=msid:${msid}`,
    ...s.groups.map((g) => `a=ssrc-group:${clean(g.semantics)} ${g.ssrcs.join(' ')}`),
    ...s.ssrcs.flatMap((ssrc) => [`a=ssrc:${ssrc} cname:${clean(s.name)}`, `a=ssrc:${ssrc} msid:${msid}`]),
  ];
}

// ridLines ask the browser for simulcast (RFC 8853 §5.1): a layer by RID each (RFC 8851), from low to high.
function ridLines(rids) {
  return [...rids.map((rid) => `a=rid:${rid} recv`), `a=simulcast:recv ${rids.join(';')}`];
}

function byPreference(payloads) {
  const rank = (p) => {
    const apt = Number(p.params.find(([k]) => k === 'apt')?.[1]);
    const name = (apt ? payloads.find((x) => x.id === apt)?.name : p.name)?.toLowerCase();
    const i = CODEC_ORDER.indexOf(name);
    return (i < 0 ? CODEC_ORDER.length : i) * 2 + (apt ? 1 : 0);
  };
  return [...payloads].sort((a, b) => rank(a) - rank(b));
}

// ---- our answer ----

// sections cuts a description into its session part and its m-sections: arrays of lines.
export function sections(sdp) {
  const out = [[]];
  for (const line of sdp.split(/\r?\n/)) {
    if (!line) continue;
    if (line.startsWith('m=')) out.push([]);
    out.at(-1).push(line);
  }
  return out;
}

const find = (lines, re) => {
  for (const l of lines) {
    const m = re.exec(l);
    if (m) return m;
  }
  return null;
};
const findAll = (lines, re) => lines.map((l) => re.exec(l)).filter(Boolean);

// parseAnswer reads {transport, media: {audio, video, data}, byMid}: media is what the first m-line of each kind says,
// byMid has {kind, direction, ssrcs, groups, cname} of all.
export function parseAnswer(sdp) {
  const [session, ...rest] = sections(sdp);
  const media = {};
  const byMid = {};
  let transport = null;
  for (const lines of rest) {
    const kind = /^m=(\w+)/.exec(lines[0])[1];
    const mid = find(lines, /^a=mid:(.+)$/)?.[1];
    if (!transport && find(lines, /^a=ice-ufrag:/)) {
      const fp = find(lines, /^a=fingerprint:(\S+) (\S+)/) ?? find(session, /^a=fingerprint:(\S+) (\S+)/);
      transport = {
        ufrag: find(lines, /^a=ice-ufrag:(.+)$/)[1],
        pwd: find(lines, /^a=ice-pwd:(.+)$/)[1],
        fingerprint: { hash: fp[1], value: fp[2], setup: (find(lines, /^a=setup:(.+)$/) ?? [, 'active'])[1] },
      };
    }
    if (kind === 'application') {
      media.data ??= { port: Number(find(lines, /^a=sctp-port:(\d+)/)?.[1] ?? 5000) };
      continue;
    }
    media[kind] ??= parseMedia(lines);
    byMid[mid] = { kind, direction: find(lines, /^a=(sendrecv|sendonly|recvonly|inactive)$/)?.[1] ?? 'sendrecv', ...parseSSRCs(lines) };
  }
  return { transport, media, byMid };
}

function parseMedia(lines) {
  const ids = lines[0].split(' ').slice(3).map(Number);
  const payloads = ids.map((id) => {
    const map = find(lines, new RegExp(`^a=rtpmap:${id} ([^/]+)/(\\d+)(?:/(\\d+))?`));
    if (!map) return null;
    const fmtp = find(lines, new RegExp(`^a=fmtp:${id} (.+)$`))?.[1];
    return {
      id,
      name: map[1],
      clockrate: Number(map[2]),
      channels: Number(map[3] ?? 1),
      params: fmtp ? fmtp.split(';').map((p) => [p.includes('=') ? p.slice(0, p.indexOf('=')).trim() : '', p.slice(p.indexOf('=') + 1).trim()]) : [],
      feedback: findAll(lines, new RegExp(`^a=rtcp-fb:${id} (\\S+)(?: (.+))?$`)).map((m) => ({ type: m[1], subtype: m[2] })),
    };
  });
  return {
    payloads: payloads.filter(Boolean),
    extensions: findAll(lines, /^a=extmap:(\d+)(?:\/\w+)? (\S+)/).map((m) => ({ id: Number(m[1]), uri: m[2] })),
  };
}

function parseSSRCs(lines) {
  const ssrcs = [...new Set(findAll(lines, /^a=ssrc:(\d+) /).map((m) => Number(m[1])))];
  const groups = findAll(lines, /^a=ssrc-group:(\S+) (.+)$/).map((m) => ({ semantics: m[1], ssrcs: m[2].split(' ').map(Number) }));
  const layers = layersOf(lines, ssrcs, groups);
  if (layers) groups.unshift({ semantics: 'SIM', ssrcs: layers });
  return { ssrcs, groups, cname: find(lines, /^a=ssrc:\d+ cname:(.+)$/)?.[1] };
}

// layersOf gives the SSRCs of the layers that an answer to ridLines sends: Firefox writes them in the order of the RIDs, and knows no SIM group.
function layersOf(lines, ssrcs, groups) {
  const rids = find(lines, /^a=simulcast:.*\bsend (\S+)/)?.[1].split(';') ?? [];
  const rtx = new Set(groups.filter((g) => g.semantics === 'FID').map((g) => g.ssrcs[1]));
  const layers = ssrcs.filter((n) => !rtx.has(n));
  return rids.length > 1 && layers.length === rids.length && !groups.some((g) => g.semantics === 'SIM') ? layers : null;
}

// withSources replaces the ssrc lines of one m-section of our answer. Chromium sends as many simulcast layers as the SIM group of
// its local description has SSRCs; a bridge that selects layers by SSRC (not by RID) needs exactly that.
export function withSources(sdp, mid, { ssrcs, groups, cname, msid }) {
  return (
    sections(sdp)
      .map((lines) => {
        if (!lines.includes(`a=mid:${mid}`)) return lines;
        return [
          ...lines.filter((l) => !l.startsWith('a=ssrc')),
          ...groups.map((g) => `a=ssrc-group:${g.semantics} ${g.ssrcs.join(' ')}`),
          ...ssrcs.flatMap((s) => [`a=ssrc:${s} cname:${cname}`, `a=ssrc:${s} msid:${msid}`]),
        ];
      })
      .flat()
      .join('\r\n') + '\r\n'
  );
}

// msidOf gives the "stream track" ids of an m-section of ours.
export function msidOf(sdp, mid) {
  const lines = sections(sdp).find((s) => s.includes(`a=mid:${mid}`)) ?? [];
  return find(lines, /^a=msid:(.+)$/)?.[1] ?? '- -';
}

// simulcast makes the sources of n layers out of the one that the browser chose: the first SSRC and its RTX stay.
export function simulcast(single, n, random) {
  const fid = single.groups.find((g) => g.semantics === 'FID');
  const primary = [single.ssrcs[0], ...Array.from({ length: n - 1 }, random)];
  if (!fid) return { ...single, ssrcs: primary, groups: [{ semantics: 'SIM', ssrcs: primary }] };
  const rtx = [fid.ssrcs[1], ...Array.from({ length: n - 1 }, random)];
  return {
    ...single,
    ssrcs: [...primary, ...rtx],
    groups: [{ semantics: 'SIM', ssrcs: primary }, ...primary.map((p, i) => ({ semantics: 'FID', ssrcs: [p, rtx[i]] }))],
  };
}
