"""Two clients by nbxmpp, the protocol library of Gajim, do what people do with Gajim; says "ok STEP" for each step that went right. Arguments: domain, port for
STARTTLS, port for direct TLS, file of the server's certificate, of its authority, and the two people."""
import base64
import ssl
import sys
import time
import traceback
import urllib.request

import gi
gi.require_version("Soup", "3.0")
from gi.repository import Gio, GLib  # noqa: E402
from nbxmpp.client import Client  # noqa: E402
from nbxmpp.const import ConnectionProtocol, ConnectionType  # noqa: E402
from nbxmpp.modules.user_avatar import Avatar  # noqa: E402
from nbxmpp.namespaces import Namespace  # noqa: E402
from nbxmpp.protocol import JID, Message, NodeProcessed, Presence  # noqa: E402
from nbxmpp.structs import StanzaHandler  # noqa: E402

DOMAIN, PORT, TLS_PORT, CERT, CA, ALICE, BOB = sys.argv[1:8]
PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==")
ROOM = JID.from_string("gajim-%d@conference.%s" % (time.time_ns(), DOMAIN))
PATIENCE = 20


def until(what, cond):
    """lets the main loop turn until cond gives something."""
    end, context = time.monotonic() + PATIENCE, GLib.MainContext.default()
    alarm = GLib.timeout_add(50, lambda: True)
    try:
        while not (x := cond()):
            if time.monotonic() > end:
                raise TimeoutError(what)
            context.iteration(True)
        return x
    finally:
        GLib.source_remove(alarm)


class Person:
    def __init__(self, user, port, kind, password=None):
        self.me = JID.from_string(user + "@" + DOMAIN)
        self.messages, self.presences, self.pushes, self.signals = [], [], [], []
        c = self.c = Client(log_context=user)
        c.set_domain(DOMAIN)
        c.set_username(user)
        c.set_resource("gajim")
        c.set_password(password or user + "-secret")
        c.set_custom_host("127.0.0.1:" + port, ConnectionProtocol.TCP, kind)
        c.set_accepted_certificates([Gio.TlsCertificate.new_from_file(CERT)])
        for signal in ("connected", "resume-successful", "resume-failed", "disconnected", "connection-failed"):
            c.subscribe(signal, self.signalled)
        c.register_handler(StanzaHandler(name="message", callback=self.heard, priority=60))
        c.register_handler(StanzaHandler(name="presence", callback=self.seen, priority=60))
        c.register_handler(StanzaHandler(name="iq", callback=self.pushed, typ="set", ns=Namespace.ROSTER, priority=40))

    def signalled(self, _, name, *args):
        self.signals.append(name)

    def pushed(self, _, st, p):
        self.pushes.append(p.roster.item)
        raise NodeProcessed

    def heard(self, _, st, p):
        self.messages.append((st, p))

    def seen(self, _, st, p):
        self.presences.append((st, p))

    def connect(self, wanted):
        self.signals.clear()
        self.c.connect()
        until(wanted, lambda: self.signals)
        if self.signals[0] != wanted:
            raise RuntimeError("%s: %s %s" % (self.me, self.signals, self.c.get_error()))

    def do(self, module, call, *args, **kwargs):
        """what a module of nbxmpp answers."""
        over = []

        def done(task):  # the task has the result no longer than this, and us no stronger than weakly
            over.append(task.get_result())
        getattr(self.c.get_module(module), call)(*args, callback=done, **kwargs)
        until(call, lambda: over)
        if isinstance(over[0], Exception):
            raise over[0]
        return over[0]

    def message(self, wanted):
        return until("message", lambda: next((m for m in self.messages if wanted(*m)), None))

    def presence(self, wanted):
        return until("presence", lambda: next((m for m in self.presences if wanted(*m)), None))

    def says(self, to, body, typ="chat", **kwargs):
        m = Message(to=to, body=body, typ=typ, **kwargs)
        return self.c.send_stanza(m)

    def join(self, nick):
        p = Presence(to=ROOM.new_with(resource=nick))
        p.setTag(Namespace.MUC + " x").setTag("history", {"maxstanzas": "20"})
        self.c.send_stanza(p)
        return self.presence(lambda st, p: p.is_muc_self_presence)[1]


def login(a, b):
    a.connect("connected")
    b.connect("connected")
    for p in (a, b):
        assert p.c.is_stream_secure and p.c.get_bound_jid().bare == p.me, p.c.get_bound_jid()
        p.do("Roster", "request_roster")
        info = p.do("Discovery", "disco_info", JID.from_string(DOMAIN))
        assert info.supports(Namespace.PING) and info.supports(Namespace.CARBONS), info.features
        own = p.do("Discovery", "disco_info", p.me)
        assert own.supports(Namespace.MAM_2) and own.has_category("pubsub"), own.features
        p.c.send_stanza(Presence(show="chat", status="here"))


def roster(a, b):
    a.c.get_module("BasePresence").subscribe(b.me)
    b.presence(lambda st, p: p.type.value == "subscribe" and p.jid.bare == a.me)
    b.c.get_module("BasePresence").subscribed(a.me)
    a.presence(lambda st, p: p.jid.bare == b.me and p.type.is_available)
    a.do("Roster", "set_item", b.me, "B.", groups=["Friends"])
    until("roster push", lambda: [i for i in a.pushes if i.jid == b.me and i.subscription == "to" and i.name == "B." and i.groups == {"Friends"}])
    items = a.do("Roster", "request_roster").items
    assert [i.name for i in items if i.jid == b.me] == ["B."], items


def chat(a, b):
    for p, q in ((a, b), (b, a)):
        n = p.says(q.me, "hello from gajim <&> 🙂")
        st, props = q.message(lambda st, x: st.getID() == n)
        assert props.body == "hello from gajim <&> 🙂" and props.from_.bare == p.me and str(q.me) in [i.by for i in props.stanza_ids], props


def room(a, b):
    own = a.join("A")
    assert own.is_new_room, own.muc_status_codes
    form = a.do("MUC", "request_config", ROOM).form
    for var, value in (("muc#roomconfig_persistentroom", True), ("muc#roomconfig_membersonly", False), ("muc#roomconfig_roomname", "Gajim's")):
        form[var].value = value
    form.type_ = "submit"
    a.do("MUC", "set_config", ROOM, form)
    early = a.says(ROOM, "early", "groupchat")
    a.message(lambda st, x: st.getID() == early)
    b.join("B")
    st, props = b.message(lambda st, x: st.getID() == early)
    assert props.user_timestamp or props.has_server_delay, "no delay"
    late = b.says(ROOM, "late", "groupchat")
    for p in (a, b):
        st, props = p.message(lambda st, x: st.getID() == late)
        assert props.muc_nickname == "B" and props.occupant_id and str(ROOM) in [i.by for i in props.stanza_ids], props
    info = a.do("MUC", "request_info", ROOM).info
    assert info.muc_name == "Gajim's" and info.muc_is_persistent and info.has_mam_2, info


def catchup(a, b, where, wanted):
    """b asks page by page for what it has, oldest first, as Gajim after an absence."""
    got, last = [], None
    query = "q%d" % time.time_ns()
    while True:
        r = b.do("MAM", "make_query", where, queryid=query, after=last, start=None, max_=3)
        if r.complete:
            break
        last = r.rsm.last
    got = [p.body for _, p in b.messages if p.is_mam_message and p.mam.query_id == query and p.body]
    assert set(wanted) <= set(got), got


def archive(a, b):
    catchup(a, b, b.me, ["hello from gajim <&> 🙂"])


def room_archive(a, b):
    catchup(a, b, ROOM, ["early", "late"])


def upload(a, b):
    data = b"z" * 70000
    items = a.do("Discovery", "disco_items", JID.from_string(DOMAIN)).items
    service = next(i.jid for i in items if a.do("Discovery", "disco_info", i.jid).supports(Namespace.HTTPUPLOAD_0))
    slot = a.do("HTTPUpload", "request_slot", service, "grüße.txt", len(data), "text/plain")
    trust = ssl.create_default_context(cafile=CA)
    put = urllib.request.Request(slot.put_uri, data=data, method="PUT", headers={"Content-Type": "text/plain", **slot.headers})
    urllib.request.urlopen(put, timeout=PATIENCE, context=trust).read()
    m = Message(to=b.me, body=slot.get_uri, typ="chat")
    m.setTag(Namespace.X_OOB + " x").addChild("url", payload=[slot.get_uri])
    a.c.send_stanza(m)
    st, props = b.message(lambda st, x: x.is_oob)
    assert urllib.request.urlopen(props.oob.url, timeout=PATIENCE, context=trust).read() == data


def avatar(a, b):
    pic = Avatar()
    pic.add_image_source(PIXEL, "image/png", 1, 1)
    a.do("UserAvatar", "set_avatar", pic, public=True)
    data = b.do("UserAvatar", "request_avatar_metadata", a.me)
    sha = data.avatar_shas[0]
    assert b.do("UserAvatar", "request_avatar_data", sha, a.me).data == PIXEL
    # the same picture by the old way, as clients without PEP ask (XEP-0398)
    assert b.do("VCardTemp", "request_vcard", a.me).get_avatar()[1] == sha


def bookmarks(a, b):
    from nbxmpp.structs import BookmarkData
    a.do("NativeBookmarks", "store_bookmarks", [BookmarkData(jid=ROOM, name="Gajim's", nick="A", autojoin=True)])
    for module in ("NativeBookmarks", "PEPBookmarks", "PrivateBookmarks"):
        got = a.do(module, "request_bookmarks")
        assert [x.jid for x in got if x.autojoin] == [ROOM], (module, got)


def block(a, b):
    a.do("Blocking", "block", [JID.from_string("pest@elsewhere.example")])
    assert JID.from_string("pest@elsewhere.example") in a.do("Blocking", "request_blocking_list")
    a.do("Blocking", "unblock", [JID.from_string("pest@elsewhere.example")])


def resume(a, b):
    a.signals.clear()
    a.c._con.disconnect()  # the connection alone, as when a network goes
    until("disconnected", lambda: "disconnected" in a.signals)
    n = b.says(a.me, "while you were away")
    a.connect("resume-successful")
    a.message(lambda st, x: st.getID() == n)


def main():
    wrong = Person(ALICE, PORT, ConnectionType.START_TLS, "guess")
    try:
        wrong.connect("connected")
        print("failed: a wrong password got in", flush=True)
    except RuntimeError as e:
        print("ok refused" if "not-authorized" in str(e) else e, flush=True)
    a, b = Person(ALICE, PORT, ConnectionType.START_TLS), Person(BOB, TLS_PORT, ConnectionType.DIRECT_TLS)
    for step in (login, roster, chat, room, archive, room_archive, upload, avatar, bookmarks, block, resume):
        try:
            step(a, b)
            print("ok", step.__name__, flush=True)
        except Exception:
            print("failed:", step.__name__, flush=True)
            traceback.print_exc(file=sys.stdout)
            break
    for p in (a, b):
        p.c.disconnect()


main()
