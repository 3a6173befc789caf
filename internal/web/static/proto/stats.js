// Numbers of a running media session, by source instead of by SSRC.

// collect resolves with
//   inbound  {source name: {kind, bytes, packets, lost, framesDecoded, width, height, audioEnergy}}
//   outbound {source name: [{width, height, framesEncoded, bytes, active}]}, layers from low to high
//   path     {local, remote, protocol, relay, rtt}: the pair of candidates in use; relay is the protocol towards the TURN server
export async function collect(session) {
  const out = { at: Date.now(), inbound: {}, outbound: {}, path: null };
  if (!session) return out;
  const report = await session.pc.getStats();
  const remote = new Map(session.slots.filter((s) => s.direction === 'sendonly' && s.source).map((s) => [s.mid, s.source]));
  const own = new Map([...session.local.values()].filter((l) => l.source).map((l) => [l.slot.mid, l.source]));
  for (const s of report.values()) {
    if (s.type === 'inbound-rtp' && remote.has(s.mid)) out.inbound[remote.get(s.mid).name] = inbound(s);
    if (s.type === 'outbound-rtp' && own.has(s.mid)) {
      (out.outbound[own.get(s.mid).name] ??= []).push({ ssrc: s.ssrc, width: s.frameWidth ?? 0, height: s.frameHeight ?? 0, framesEncoded: s.framesEncoded ?? 0, bytes: s.bytesSent, active: s.active });
    }
    if (s.type === 'transport' && s.selectedCandidatePairId) out.path = path(report, report.get(s.selectedCandidatePairId));
    if (s.type === 'remote-inbound-rtp') {
      out.uploadLoss = Math.max(out.uploadLoss ?? 0, s.fractionLost ?? 0);
      out.rtt = s.roundTripTime ?? out.rtt;
    }
  }
  for (const [name, layers] of Object.entries(out.outbound)) {
    const order = [...own.values()].find((s) => s.name === name).ssrcs;
    layers.sort((a, b) => order.indexOf(a.ssrc) - order.indexOf(b.ssrc));
  }
  return out;
}

function inbound(s) {
  return {
    kind: s.kind,
    ssrc: s.ssrc,
    bytes: s.bytesReceived,
    packets: s.packetsReceived,
    lost: s.packetsLost,
    framesDecoded: s.framesDecoded ?? 0,
    width: s.frameWidth ?? 0,
    height: s.frameHeight ?? 0,
    fps: s.framesPerSecond ?? 0,
    freezes: s.freezeCount ?? 0,
    audioEnergy: s.totalAudioEnergy ?? 0,
    level: s.audioLevel ?? 0,
  };
}

function path(report, pair) {
  const local = report.get(pair?.localCandidateId);
  const remote = report.get(pair?.remoteCandidateId);
  if (!local || !remote) return null;
  return { local: local.candidateType, remote: remote.candidateType, protocol: local.protocol, relay: local.relayProtocol ?? null, rtt: pair.currentRoundTripTime ?? null };
}

// quality makes bit rates (kbit/s), packet loss (percent) and one number (0..100) of two collections.
export function quality(now, before) {
  const sum = (list, field) => list.reduce((a, x) => a + (x[field] ?? 0), 0);
  const ins = Object.values(now.inbound);
  const outs = Object.values(now.outbound).flat();
  if (!before) return { bitrate: { upload: 0, download: 0 }, packetLoss: { total: 0, upload: 0, download: 0 }, connectionQuality: 100 };
  const oldIns = Object.values(before.inbound);
  const seconds = Math.max(0.001, (now.at - before.at) / 1000);
  const kbps = (a, b) => Math.max(0, Math.round(((a - b) * 8) / 1000 / seconds));
  const packets = Math.max(0, sum(ins, 'packets') - sum(oldIns, 'packets'));
  const lost = Math.max(0, sum(ins, 'lost') - sum(oldIns, 'lost'));
  const download = packets + lost > 0 ? Math.round((100 * lost) / (packets + lost)) : 0;
  const upload = Math.round(100 * (now.uploadLoss ?? 0));
  const late = Math.max(0, ((now.path?.rtt ?? 0) - 0.15) * 100); // a round trip above 150 ms costs a point per 10 ms
  return {
    bitrate: { upload: kbps(sum(outs, 'bytes'), sum(Object.values(before.outbound).flat(), 'bytes')), download: kbps(sum(ins, 'bytes'), sum(oldIns, 'bytes')) },
    packetLoss: { total: Math.max(upload, download), upload, download },
    jvbRTT: now.path?.rtt != null ? Math.round(now.path.rtt * 1000) : undefined,
    connectionQuality: Math.max(0, Math.min(100, Math.round(100 - 4 * Math.max(upload, download) - late))),
  };
}
