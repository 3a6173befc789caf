// MediaSession of the page against another RTCPeerConnection that plays the bridge, in one page: offer, answer with three layers,
// sources that come and go, screen, layers switched off and on. Returns 'ok', or throws.
(async () => {
  const { MediaSession } = await import('/static/proto/session.js');
  const { parseAnswer } = await import('/static/proto/sdp.js');
  const { collect } = await import('/static/proto/stats.js');
  const until = async (what, f) => {
    const end = Date.now() + 10_000;
    for (;;) {
      const v = await f();
      if (v) return v;
      if (Date.now() > end) throw new Error('not in time: ' + what);
      await new Promise((r) => setTimeout(r, 50));
    }
  };
  const is = (what, a, b) => {
    if (JSON.stringify(a) !== JSON.stringify(b)) throw new Error(`${what}: ${JSON.stringify(a)}, want ${JSON.stringify(b)}`);
  };

  // The bridge's side: its own browser-made description, as the plain offer that Jingle would have carried.
  const bridge = new RTCPeerConnection();
  bridge.addTransceiver('audio', { direction: 'sendrecv' });
  bridge.addTransceiver('video', { direction: 'sendrecv' });
  bridge.createDataChannel('unused');
  let channel;
  bridge.ondatachannel = (ev) => (channel = ev.channel);
  const offerAgain = async () => bridge.setLocalDescription(await bridge.createOffer());
  await offerAgain();
  await until('candidates', () => bridge.iceGatheringState === 'complete');
  const parsed = parseAnswer(bridge.localDescription.sdp);
  const candidates = [...new Set(bridge.localDescription.sdp.match(/a=candidate:.+/g))]
    .map((l) => l.trim().slice(12).split(' '))
    .filter((f) => f[2] === 'udp')
    .map((f) => ({ foundation: f[0], component: f[1], protocol: f[2], priority: f[3], ip: f[4], port: f[5], type: f[7] }));
  const offer = {
    contents: parsed.media,
    transport: { ...parsed.transport, candidates },
    sources: [
      { owner: 'jvb', name: 'jvb-a0', kind: 'audio', ssrcs: [77778], groups: [] },
      { owner: 'jvb', name: 'jvb-v0', kind: 'video', ssrcs: [77777], groups: [] },
    ],
  };

  const session = new MediaSession({ endpointId: 'abcd1234', iceServers: [] });
  const changes = [];
  session.on('sources', (c) => changes.push([c.added.map((s) => s.name), c.removed.map((s) => s.name)]));
  const bridgeChannel = session.pc.createDataChannel('JVB data channel', { protocol: 'http://jitsi.org/protocols/colibri' });
  const media = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 1280, height: 720 } });
  const [camera] = media.getVideoTracks();
  const { sources } = await session.start(offer, { a0: media.getAudioTracks()[0], v0: camera, v1: null });
  is('own sources', sources.map((s) => [s.name, s.ssrcs.length, s.groups.map((g) => g.semantics)]), [['abcd1234-a0', 1, []], ['abcd1234-v0', 6, ['SIM', 'FID', 'FID', 'FID']]]);
  const answered = () => bridge.setRemoteDescription({ type: 'answer', sdp: session.pc.localDescription.sdp });
  await answered();
  await until('connected', () => session.pc.connectionState === 'connected');
  await until('channel', () => channel?.label === 'JVB data channel' && bridgeChannel.readyState === 'open');

  // Somebody else's source.
  bridge.addTransceiver(camera, { direction: 'sendonly' });
  await offerAgain();
  const theirs = parseAnswer(bridge.localDescription.sdp).byMid['3'];
  const tracks = [];
  session.on('track', (x) => tracks.push(x.source.name));
  await session.addSources([{ owner: 'peer0001', name: 'peer0001-v0', kind: 'video', ssrcs: theirs.ssrcs, groups: theirs.groups }]);
  await answered();
  is('tracks', tracks, ['peer0001-v0']);
  await until('frames', async () => (await collect(session)).inbound['peer0001-v0']?.framesDecoded > 5);

  // Layers that nobody wants.
  const active = async () => (await collect(session)).outbound['abcd1234-v0'].map((l) => l.active).join();
  for (const [height, want] of [[180, 'true,false,false'], [360, 'true,true,false'], [0, 'false,false,false'], [2160, 'true,true,true'], [-1, 'true,true,true']]) {
    await session.setMaxHeight('abcd1234-v0', height);
    await until(`layers for ${height}`, async () => (await active()) === want);
  }

  // The screen is a source that is added, removed, and added again with the same m-line.
  const canvas = document.createElement('canvas');
  canvas.getContext('2d').fillRect(0, 0, 10, 10);
  const [screen] = canvas.captureStream(5).getVideoTracks();
  await session.setTrack('v1', screen);
  await session.setTrack('v1', null);
  await session.setTrack('v1', screen);
  is('changes', changes, [[['abcd1234-v1'], []], [[], ['abcd1234-v1']], [['abcd1234-v1'], []]]);

  // A slot that became free is used again.
  await session.removeOwner('peer0001');
  await session.addSources([{ owner: 'peer0002', name: 'peer0002-v0', kind: 'video', ssrcs: [123, 124], groups: [{ semantics: 'FID', ssrcs: [123, 124] }] }]);
  is('slots', session.slots.map((s) => [s.kind[0], s.direction, s.source?.name ?? '']), [['a', 'sendrecv', 'jvb-a0'], ['v', 'sendrecv', 'jvb-v0'], ['a', 'sendrecv', ''], ['v', 'sendonly', 'peer0002-v0'], ['v', 'recvonly', '']]);

  // Camera off and on needs no negotiation, and keeps its layers.
  const { version } = session;
  await session.setTrack('v0', null);
  await session.setTrack('v0', camera.clone());
  is('negotiations', session.version, version);
  is('encodings', session.pc.getSenders()[1].getParameters().encodings.length, 3);
  return 'ok';
})();
