// The conference request: ask the focus to be in the room before we join it.

import { el, NS } from './xml.js';
import { delay } from './xmpp.js';

const RETRY_MAX = 30_000; // ms between two requests while the focus is not ready

// request resolves with {focusJid, properties}; it repeats until the focus says that it is ready. An IQError 'not-authorized'
// means that somebody with an account has to open the meeting.
export async function request(connection, focus, room) {
  for (let wait = 1000; ; wait = Math.min(wait * 2, RETRY_MAX)) {
    const answer = await connection.iq(
      el('iq', { type: 'set', to: focus }, el('conference', { xmlns: NS.focus, room, 'machine-uid': machineUID() })),
      30_000,
    );
    const conference = answer.child('conference', NS.focus);
    if (conference?.attr('ready') === 'true') {
      const properties = Object.fromEntries(conference.all('property').map((p) => [p.attr('name'), p.attr('value')]));
      return { focusJid: conference.attr('focusjid'), properties };
    }
    await delay(wait);
  }
}

// machineUID is a random number per visit: the focus uses it to tie an authenticated session to one browser.
let uid;
function machineUID() {
  uid ??= [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, '0')).join('');
  return uid;
}
