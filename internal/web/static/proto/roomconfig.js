// What a room says of itself (disco#info), and the changes that its owners make (muc#owner): password and members only, which is the
// lobby.

import { el, NS } from './xml.js';

const ROOM_CONFIG = 'http://jabber.org/protocol/muc#roomconfig';

// roomInfo resolves with {locked, membersOnly, lobby, breakout, mainRoom, created}.
export async function roomInfo(connection, jid) {
  const answer = await connection.iq(el('iq', { type: 'get', to: jid }, el('query', { xmlns: NS.discoInfo })));
  return parseRoomInfo(answer.child('query', NS.discoInfo));
}

export function parseRoomInfo(query) {
  const features = new Set(query.all('feature').map((f) => f.attr('var')));
  const form = query.all('x', NS.dataForms).find((x) => x.attr('type') === 'result');
  const value = (name) => form?.all('field').find((f) => f.attr('var') === name)?.child('value')?.text ?? '';
  return {
    locked: features.has('muc_passwordprotected'),
    membersOnly: features.has('muc_membersonly'),
    lobby: value('muc#roominfo_lobbyroom'),
    breakout: Boolean(value('muc#roominfo_isbreakout')),
    mainRoom: value('muc#roominfo_breakout_main_room'),
    created: Number(value('muc#roominfo_created_timestamp')) || null,
  };
}

// configure submits some fields of the owners' form; those that are not named stay as they are.
function configure(connection, jid, fields) {
  const all = { FORM_TYPE: ROOM_CONFIG, 'muc#roomconfig_whois': 'anyone', ...fields };
  const form = el('x', { xmlns: NS.dataForms, type: 'submit' }, Object.entries(all).map(([name, value]) => el('field', { var: name }, el('value', {}, value))));
  return connection.iq(el('iq', { type: 'set', to: jid }, el('query', { xmlns: NS.mucOwner }, form)));
}

// setPassword sets the password of a room, '' for none.
export function setPassword(connection, jid, password) {
  return configure(connection, jid, { 'muc#roomconfig_roomsecret': password, 'muc#roomconfig_passwordprotectedroom': password ? '1' : '0' });
}

// setMembersOnly makes a room one for members only, or for everybody. Those who are inside become members first: they must be able to
// come back.
export async function setMembersOnly(connection, jid, on, inside) {
  const items = inside.map((real) => el('item', { affiliation: 'member', jid: real.split('/')[0] }));
  if (on && items.length > 0) await connection.iq(el('iq', { type: 'set', to: jid }, el('query', { xmlns: NS.mucAdmin }, items)));
  await configure(connection, jid, { 'muc#roomconfig_membersonly': String(on) });
}
