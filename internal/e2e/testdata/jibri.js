// A recorder (Jibri) in a tab: it logs in, waits in the brewery, and answers what the focus asks. window.jibri.seen: it is in the room.
(async () => {
  const { Connection } = await import('/static/proto/xmpp.js');
  const { el, NS } = await import('/static/proto/xml.js');
  const room = 'jibribrewery@internal.auth.localhost';
  const connection = new Connection({ url: config.websocket, domain: 'auth.localhost', credentials: { user: 'jibri', password: 'secret-jibri' } });
  window.jibri = { seen: false };
  await connection.connect();
  connection.onIQ(NS.jibri, 'jibri', (iq, j) => {
    const status = j.attr('action') === 'start' ? 'pending' : 'off';
    const next = status === 'pending' ? 'on' : 'off';
    setTimeout(() => connection.send(el('iq', { type: 'set', id: crypto.randomUUID(), to: iq.attr('from') }, el('jibri', { xmlns: NS.jibri, status: next, session_id: j.attr('session_id') }))));
    return el('jibri', { xmlns: NS.jibri, status, session_id: j.attr('session_id') });
  });
  connection.on('presence', (p) => (window.jibri.seen ||= p.attr('from') === `${room}/one`));
  connection.send(
    el(
      'presence',
      { to: `${room}/one` },
      el('x', { xmlns: NS.muc }),
      el('jibri-status', { xmlns: NS.jibri }, el('busy-status', { xmlns: NS.jibri, status: 'idle' }), el('health-status', { xmlns: 'http://jitsi.org/protocol/health', status: 'healthy' })),
    ),
  );
  return 'ready';
})();
