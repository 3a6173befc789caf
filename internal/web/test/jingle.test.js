import assert from 'node:assert/strict';
import { test } from 'node:test';
import { el, NS } from '../static/proto/xml.js';
import * as jingle from '../static/proto/jingle.js';
import { buildOffer, parseAnswer, sections, simulcast, withoutMID, withSources } from '../static/proto/sdp.js';
import { parseServices } from '../static/proto/services.js';
import { parseSourceInfo } from '../static/proto/muc.js';
import { verification } from '../static/proto/caps.js';
import { quality } from '../static/proto/stats.js';

const transport = () =>
  el(
    'transport',
    { xmlns: NS.ice, ufrag: 'u1', pwd: 'p1' },
    el('rtcp-mux'),
    el('fingerprint', { xmlns: NS.dtls, hash: 'sha-256', setup: 'actpass' }, 'AB:CD'),
    el('candidate', { component: '1', foundation: '1', generation: '0', ip: '203.0.113.5', port: '10000', priority: '2130706431', protocol: 'udp', type: 'host' }),
    el('candidate', { component: '1', foundation: '2', generation: '0', ip: '198.51.100.7', port: '10000', priority: '1694498815', protocol: 'udp', type: 'srflx', 'rel-addr': '10.0.0.4', 'rel-port': '10000' }),
  );

// namespaced gives children the namespace of their parent, as a parser does.
function namespaced(x, ns = null) {
  x.ns ??= ns;
  for (const c of x.all()) namespaced(c, x.ns);
  return x;
}

const offerStanza = (sources) =>
  namespaced(
    el(
      'jingle',
      { xmlns: NS.jingle, action: 'session-initiate', sid: 's1', initiator: 'focus@auth.example.org/focus' },
      el(
        'content',
        { name: 'audio' },
        el(
          'description',
          { xmlns: NS.rtp, media: 'audio' },
          el('payload-type', { id: '111', name: 'opus', clockrate: '48000', channels: '2' }, el('parameter', { name: 'minptime', value: '10' }), el('parameter', { name: 'useinbandfec', value: '1' }), el('rtcp-fb', { xmlns: NS.rtcpFb, type: 'transport-cc' })),
          el('rtp-hdrext', { xmlns: NS.hdrext, id: '1', uri: 'urn:ietf:params:rtp-hdrext:ssrc-audio-level' }),
          el('rtp-hdrext', { xmlns: NS.hdrext, id: '10', uri: 'urn:ietf:params:rtp-hdrext:sdes:mid' }),
        ),
        transport(),
      ),
      el(
        'content',
        { name: 'video' },
        el(
          'description',
          { xmlns: NS.rtp, media: 'video' },
          el('payload-type', { id: '41', name: 'AV1', clockrate: '90000' }),
          el('payload-type', { id: '100', name: 'VP8', clockrate: '90000' }, el('rtcp-fb', { xmlns: NS.rtcpFb, type: 'ccm', subtype: 'fir' }), el('rtcp-fb', { xmlns: NS.rtcpFb, type: 'nack' })),
          el('payload-type', { id: '107', name: 'H264', clockrate: '90000' }, el('parameter', { name: 'profile-level-id', value: '42e01f;level-asymmetry-allowed=1;packetization-mode=1;' })),
          el('payload-type', { id: '42', name: 'rtx', clockrate: '90000' }, el('parameter', { name: 'apt', value: '41' })),
          el('payload-type', { id: '96', name: 'rtx', clockrate: '90000' }, el('parameter', { name: 'apt', value: '100' })),
        ),
        transport(),
      ),
      el('content', { name: 'data' }, el('description', { xmlns: NS.rtp, media: 'application' }), transport().add(el('sctpmap', { xmlns: NS.sctp, number: '5000' }))),
      el('bridge-session', { xmlns: NS.focus, id: 'b1' }),
      el('startmuted', { xmlns: NS.startMuted, audio: 'true', video: 'false' }),
      el('json-message', { xmlns: NS.jitmeet }, JSON.stringify({ sources })),
    ),
  );

const SOURCES = {
  jvb: [[{ s: 11, n: 'jvb-v0', m: 'mixedmslabel mixedlabelvideo0' }], [], [{ s: 12, n: 'jvb-a0', m: 'mixedmslabel mixedlabelaudio0' }]],
  ef56ab78: [
    [
      { s: 21, n: 'ef56ab78-v0', m: 'a b' },
      { s: 22, n: 'ef56ab78-v0', m: 'a b' },
      { s: 23, n: 'ef56ab78-v1', m: 'c d', v: 'd' },
    ],
    [['f', 21, 22]],
    [{ s: 24, n: 'ef56ab78-a0', m: 'e f' }],
  ],
};

test('an offer with JSON sources', () => {
  const o = jingle.parseOffer(offerStanza(SOURCES));
  assert.equal(o.bridgeSession, 'b1');
  assert.deepEqual(o.startMuted, { audio: true, video: false });
  assert.deepEqual(o.contents.data, { port: 5000 });
  const byName = Object.fromEntries(o.sources.map((s) => [s.name, s]));
  assert.deepEqual(byName['ef56ab78-v0'], { name: 'ef56ab78-v0', owner: 'ef56ab78', kind: 'video', videoType: 'camera', msid: 'a b', ssrcs: [21, 22], groups: [{ semantics: 'FID', ssrcs: [21, 22] }] });
  assert.equal(byName['ef56ab78-v1'].videoType, 'desktop');
  assert.equal(byName['jvb-a0'].owner, 'jvb');
});

test('sources as XML elements', () => {
  const d = el(
    'description',
    { xmlns: NS.rtp, media: 'video' },
    el('source', { xmlns: NS.ssma, ssrc: '1', name: 'aa-v0', videoType: 'camera' }, el('parameter', { name: 'msid', value: 'm t' }), el('ssrc-info', { xmlns: NS.jitmeet, owner: 'room@muc/aa' })),
    el('source', { xmlns: NS.ssma, ssrc: '2', name: 'aa-v0', videoType: 'camera' }),
    el('source', { xmlns: NS.ssma, ssrc: 'x', name: 'aa-v0' }),
    el('ssrc-group', { xmlns: NS.ssma, semantics: 'FID' }, el('source', { xmlns: NS.ssma, ssrc: '1' }), el('source', { xmlns: NS.ssma, ssrc: '2' })),
  );
  const got = jingle.parseSources(namespaced(el('jingle', { xmlns: NS.jingle }, el('content', { name: 'video' }, d))));
  assert.deepEqual(got, [{ name: 'aa-v0', owner: 'aa', kind: 'video', videoType: 'camera', msid: 'm t', ssrcs: [1, 2], groups: [{ semantics: 'FID', ssrcs: [1, 2] }] }]);
});

test('broken sources are left out, and break nothing', () => {
  for (const bad of [null, {}, { x: null }, { x: 1 }, { x: [[{}]] }, { x: [[{ s: -1 }, { s: 1.5 }, { s: 4294967296 }]] }]) {
    assert.deepEqual(jingle.parseOffer(offerStanza(bad)).sources, []);
  }
  assert.deepEqual(jingle.parseSources(namespaced(el('jingle', { xmlns: NS.jingle }, el('json-message', { xmlns: NS.jitmeet }, '{')))), []);
});

const slots = (o) => [
  { mid: '0', kind: 'audio', direction: 'sendrecv', source: o.sources.find((s) => s.name === 'jvb-a0') },
  { mid: '1', kind: 'video', direction: 'sendrecv', source: o.sources.find((s) => s.name === 'jvb-v0') },
  { mid: '2', kind: 'application', direction: 'sendrecv', source: null },
  { mid: '3', kind: 'video', direction: 'sendonly', source: o.sources.find((s) => s.name === 'ef56ab78-v0') },
  { mid: '4', kind: 'video', direction: 'inactive', source: null },
];

test('an offer as session description: one section per slot, VP8 first', () => {
  const o = jingle.parseOffer(offerStanza(SOURCES));
  const sdp = buildOffer({ offer: o, slots: slots(o), sessionId: 1, version: 2 });
  const s = sections(sdp);
  assert.equal(s.length, 6);
  assert.ok(s[0].includes('a=group:BUNDLE 0 1 2 3 4'));
  assert.equal(s[2][0], 'm=video 9 UDP/TLS/RTP/SAVPF 100 96 107 41 42');
  assert.ok(s[2].includes('a=fmtp:107 profile-level-id=42e01f;level-asymmetry-allowed=1;packetization-mode=1'));
  assert.ok(s[2].includes('a=rtcp-fb:100 ccm fir'));
  assert.ok(s[1].includes('a=candidate:2 1 udp 1694498815 198.51.100.7 10000 typ srflx raddr 10.0.0.4 rport 10000 generation 0'));
  assert.deepEqual(s[4].filter((l) => /ssrc|msid/.test(l)), ['a=msid:ef56ab78-v0 ef56ab78-v0', 'a=ssrc-group:FID 21 22', 'a=ssrc:21 cname:ef56ab78-v0', 'a=ssrc:21 msid:ef56ab78-v0 ef56ab78-v0', 'a=ssrc:22 cname:ef56ab78-v0', 'a=ssrc:22 msid:ef56ab78-v0 ef56ab78-v0']);
  assert.ok(s[5].includes('a=inactive') && !s[5].some((l) => l.includes('ssrc')));
});

test('without MIDs, the other header extensions of an offer stay', () => {
  const o = jingle.parseOffer(offerStanza(SOURCES));
  const extensions = (offer) => sections(buildOffer({ offer, slots: slots(o), sessionId: 1, version: 1 }))[1].filter((l) => l.startsWith('a=extmap:'));
  assert.deepEqual(extensions(o), ['a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level', 'a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:mid']);
  assert.deepEqual(extensions(withoutMID(o)), ['a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level']);
});

test('foreign names cannot write lines of their own', () => {
  const o = jingle.parseOffer(offerStanza({ x: [[{ s: 5, n: 'x-v0\r\na=evil:1', m: 'm' }]] }));
  const sdp = buildOffer({ offer: o, slots: [{ mid: '0', kind: 'video', direction: 'sendonly', source: o.sources[0] }], sessionId: 1, version: 1 });
  assert.ok(!/^a=evil/m.test(sdp));
});

const ANSWER = [
  'v=0', 'o=- 1 2 IN IP4 127.0.0.1', 's=-', 't=0 0', 'a=group:BUNDLE 0 1 2',
  'm=audio 9 UDP/TLS/RTP/SAVPF 111', 'a=ice-ufrag:cu', 'a=ice-pwd:cp', 'a=fingerprint:sha-256 11:22', 'a=setup:active', 'a=mid:0', 'a=sendrecv', 'a=msid:st au', 'a=rtpmap:111 opus/48000/2', 'a=fmtp:111 minptime=10;useinbandfec=1', 'a=rtcp-fb:111 transport-cc', 'a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level', 'a=ssrc:900 cname:cn',
  'm=video 9 UDP/TLS/RTP/SAVPF 100 96', 'a=ice-ufrag:cu', 'a=ice-pwd:cp', 'a=fingerprint:sha-256 11:22', 'a=setup:active', 'a=mid:1', 'a=sendrecv', 'a=msid:st vi', 'a=rtpmap:100 VP8/90000', 'a=rtcp-fb:100 nack pli', 'a=rtpmap:96 rtx/90000', 'a=fmtp:96 apt=100', 'a=ssrc-group:FID 901 902', 'a=ssrc:901 cname:cn', 'a=ssrc:902 cname:cn',
  'm=application 9 UDP/DTLS/SCTP webrtc-datachannel', 'a=mid:2', 'a=sctp-port:5000', '',
].join('\r\n');

test('our answer as session-accept, with three layers', () => {
  const single = parseAnswer(ANSWER).byMid['1'];
  let next = 1000;
  const layers = simulcast(single, 3, () => next++);
  const sdp = withSources(ANSWER, '1', { ...layers, msid: 'st vi' });
  const d = parseAnswer(sdp);
  assert.deepEqual(d.byMid['1'].ssrcs, [901, 1000, 1001, 902, 1002, 1003]);
  assert.deepEqual(d.byMid['1'].groups.map((g) => [g.semantics, ...g.ssrcs]), [['SIM', 901, 1000, 1001], ['FID', 901, 902], ['FID', 1000, 1002], ['FID', 1001, 1003]]);
  assert.deepEqual(d.byMid['0'].ssrcs, [900]);
  const source = { name: 'me-v0', kind: 'video', videoType: 'camera', msid: 'm t', ...d.byMid['1'] };
  const iq = jingle.accept({ peer: 'r@muc/focus', sid: 's1', initiator: 'f' }, 'me@x/y', d, [source]);
  const j = iq.child('jingle');
  assert.equal(j.attr('responder'), 'me@x/y');
  assert.deepEqual(j.all('content').map((c) => c.attr('name')), ['audio', 'video', 'data']);
  const video = j.all('content')[1];
  assert.equal(video.child('description').all('source').length, 6);
  assert.equal(video.child('description').all('ssrc-group')[0].attr('semantics'), 'SIM');
  const t = video.child('transport');
  assert.deepEqual([t.attr('ufrag'), t.attr('pwd'), t.child('fingerprint').attr('setup')], ['cu', 'cp', 'active']);
  assert.deepEqual(video.child('description').all('payload-type')[1].child('parameter').attrs, { name: 'apt', value: '100' });
  // what we write is what we read
  assert.deepEqual(jingle.parseSources(namespaced(j)).map((s) => [s.name, s.ssrcs.length, s.groups.length]), [['me-v0', 6, 4]]);
});

test('a browser without RTX still gets a SIM group', () => {
  const layers = simulcast({ ssrcs: [1], groups: [], cname: 'c' }, 2, () => 7);
  assert.deepEqual(layers.groups, [{ semantics: 'SIM', ssrcs: [1, 7] }]);
});

test('layers that the browser answers by RID become a SIM group in their order', () => {
  const o = jingle.parseOffer(offerStanza([]));
  const slot = { mid: '1', kind: 'video', direction: 'sendrecv', source: null, rids: ['1', '2', '3'] };
  const lines = sections(buildOffer({ offer: o, slots: [slot], sessionId: 1, version: 1 }))[1];
  assert.deepEqual(lines.slice(-4), ['a=rid:1 recv', 'a=rid:2 recv', 'a=rid:3 recv', 'a=simulcast:recv 1;2;3']);

  const answer = (simulcast) =>
    [ANSWER.split('a=ssrc')[0].trim().split('\r\n').filter((l) => !l.startsWith('a=simulcast')).join('\r\n'), simulcast, ...[50, 51, 30, 31, 40, 41].map((n) => `a=ssrc:${n} cname:c`)]
      .concat(['a=ssrc-group:FID 50 51', 'a=ssrc-group:FID 30 31', 'a=ssrc-group:FID 40 41', ''])
      .join('\r\n');
  const groups = (sdp) => Object.values(parseAnswer(sdp).byMid).at(-1).groups;
  assert.deepEqual(groups(answer('a=simulcast:send 1;2;3'))[0], { semantics: 'SIM', ssrcs: [50, 30, 40] });
  assert.equal(groups(answer('a=simulcast:send 1;2')).some((g) => g.semantics === 'SIM'), false, 'as many layers as RIDs, or none');
  assert.equal(groups(answer('a=inactive')).some((g) => g.semantics === 'SIM'), false);
});

test('a source-add has only the contents that it needs', () => {
  const iq = jingle.sourceChange('source-add', { peer: 'f', sid: 's', initiator: 'i' }, [{ name: 'me-v1', kind: 'video', videoType: 'desktop', msid: 'm t', ssrcs: [5, 6], groups: [{ semantics: 'FID', ssrcs: [5, 6] }] }]);
  assert.deepEqual(iq.child('jingle').all('content').map((c) => c.attr('name')), ['video']);
  assert.match(iq.toString(), /videoType='desktop'/);
});

test('TURN servers', () => {
  const services = el(
    'services',
    { xmlns: NS.extdisco },
    el('service', { type: 'stun', host: 't.example', port: '3478', transport: 'udp' }),
    el('service', { type: 'turn', host: '::1', port: '3478', transport: 'udp', username: 'u', password: 'p' }),
    el('service', { type: 'turn', host: 't.example', port: '3478', transport: 'tcp', username: 'u', password: 'p' }),
    el('service', { type: 'push', host: 'x' }),
  );
  assert.deepEqual(parseServices(services).map((s) => s.urls), ['stun:t.example:3478', 'turn:[::1]:3478?transport=udp', 'turn:t.example:3478?transport=tcp']);
  assert.deepEqual(parseServices(services, 'tcp'), [{ urls: 'turn:t.example:3478?transport=tcp', username: 'u', credential: 'p' }]);
});

test('SourceInfo, and its forerunners', () => {
  const p = el('presence', {}, el('SourceInfo', {}, '{"a-a0":{"muted":true},"a-v1":{"muted":false,"videoType":"desktop"},"bad":1}'));
  assert.deepEqual(parseSourceInfo('a', p), { 'a-a0': { muted: true, videoType: undefined }, 'a-v1': { muted: false, videoType: 'desktop' } });
  assert.equal(parseSourceInfo('a', el('presence', {}, el('audiomuted', {}, 'true')))['a-a0'].muted, true);
  assert.equal(parseSourceInfo('a', el('presence', {}, el('SourceInfo', {}, '{')))['a-v0'].muted, false);
});

test('the string of entity capabilities (XEP-0115 §5.1) is sorted', () => {
  assert.equal(verification({ category: 'client', type: 'pc', name: 'Exodus 0.9.1' }, ['http://jabber.org/protocol/muc', 'http://jabber.org/protocol/caps']), 'client/pc//Exodus 0.9.1<http://jabber.org/protocol/caps<http://jabber.org/protocol/muc<');
});

test('connection quality falls with loss and delay', () => {
  const at = (t, packets, lost, rtt) => ({ at: t, inbound: { x: { packets, lost, bytes: packets * 1000 } }, outbound: {}, path: { rtt } });
  assert.equal(quality(at(10_000, 1000, 0, 0.02), at(0, 0, 0, 0.02)).connectionQuality, 100);
  const bad = quality(at(10_000, 900, 100, 0.45), at(0, 0, 0, 0.02));
  assert.equal(bad.packetLoss.download, 10);
  assert.equal(bad.bitrate.download, 720);
  assert.equal(bad.connectionQuality, 30);
});
