// The components of the domain around meetings, as its disco#info names them: an identity of category 'component' has the address of
// the component as its name. Clients send them commands, and they send JSON in messages.

import { el, NS } from './xml.js';

// components asks for them; it resolves with a Map of type ('polls', 'breakout_rooms', ...) -> address.
export async function components(connection) {
  const answer = await connection.iq(el('iq', { type: 'get', to: connection.domain }, el('query', { xmlns: NS.discoInfo })));
  return parseComponents(answer.child('query', NS.discoInfo));
}

export function parseComponents(query) {
  const identities = query?.all('identity').filter((i) => i.attr('category') === 'component') ?? [];
  return new Map(identities.map((i) => [i.attr('type'), i.attr('name')]));
}

// parseJSON gives the JSON object in a message that is for programs, null if there is none or it has no type.
export function parseJSON(message) {
  const text = message.child('json-message', NS.jitmeet)?.text;
  if (!text) return null;
  try {
    const json = JSON.parse(text);
    return typeof json?.type === 'string' ? json : null;
  } catch {
    return null;
  }
}
