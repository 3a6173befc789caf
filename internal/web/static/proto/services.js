// STUN and TURN servers from the domain (XEP-0215), as RTCPeerConnection wants them.

import { el, NS } from './xml.js';

// iceServers asks for them. only: 'udp' or 'tcp' keeps TURN over that transport alone (used by tests).
export async function iceServers(connection, only) {
  const answer = await connection.iq(el('iq', { type: 'get', to: connection.domain }, el('services', { xmlns: NS.extdisco })));
  return parseServices(answer.child('services', NS.extdisco), only);
}

export function parseServices(services, only) {
  const out = [];
  for (const s of services?.all('service') ?? []) {
    const type = s.attr('type');
    if (!['stun', 'stuns', 'turn', 'turns'].includes(type)) continue;
    const transport = s.attr('transport') ?? (type === 'turns' ? 'tcp' : 'udp');
    const host = s.attr('host').includes(':') ? `[${s.attr('host').replace(/[[\]]/g, '')}]` : s.attr('host');
    const isTURN = type.startsWith('turn');
    if (only && (only === 'tls' ? type !== 'turns' : type !== 'turn' || transport !== only)) continue;
    const urls = `${type}:${host}${s.attr('port') ? ':' + s.attr('port') : ''}` + (isTURN ? `?transport=${transport}` : '');
    out.push(isTURN ? { urls, username: s.attr('username') ?? '', credential: s.attr('password') ?? '' } : { urls });
  }
  return out;
}
