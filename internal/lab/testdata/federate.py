"""Two slixmpp clients, each at a server of its own; says "ok STEP" for each step that went right. Arguments: address and domain of either server, the authority of
their certificates, and which parts."""
import asyncio
import base64
import hashlib
import os
import ssl
import sys
import traceback
import urllib.request

import slixmpp
from slixmpp.xmlstream import ET

CA = sys.argv[5]
PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==")


def ok(step):
    print("ok", step, flush=True)


class Client(slixmpp.ClientXMPP):
    def __init__(self, user, domain, addr):
        super().__init__("%s@%s/lab" % (user, domain), user + "-secret")
        self.domain, self.me = domain, user + "@" + domain
        self.ssl_context.check_hostname = False
        self.ssl_context.verify_mode = ssl.CERT_NONE
        for p in ("xep_0030", "xep_0045", "xep_0060", "xep_0065", "xep_0084", "xep_0115", "xep_0163", "xep_0199", "xep_0313", "xep_0363"):
            self.register_plugin(p)
        self.queue = {k: asyncio.Queue() for k in ("message", "presence_available", "groupchat_message", "avatar_metadata_publish", "presence_unsubscribed", "pubsub_publish", "message_error")}
        for k, q in self.queue.items():
            self.add_event_handler(k, q.put_nowait)
        self.ready = asyncio.get_event_loop().create_future()
        self.add_event_handler("session_start", self.start)
        self.connect((addr, 5222))

    async def start(self, _):
        self.plugin["xep_0163"].add_interest("urn:xmpp:avatar:metadata")
        await self.plugin["xep_0115"].update_caps(broadcast=False)
        self.send_presence()
        await self.get_roster()
        self.ready.done() or self.ready.set_result(True)

    async def get(self, kind, wanted=lambda x: True, time=15):
        async def look():
            while True:
                x = await self.queue[kind].get()
                if wanted(x):
                    return x
        return await asyncio.wait_for(look(), time)


async def chat(a, b, step):
    a.send_message(mto=b.me, mbody="hello " + step, mtype="chat")
    m = await b.get("message", lambda m: m["body"] == "hello " + step)
    if m["from"].bare == a.me:
        ok(step)


async def burst(a, b, n=200):
    for i in range(n):
        a.send_message(mto=b.me, mbody="burst %d" % i, mtype="chat")
    for i in range(n):
        await b.get("message", lambda m: m["body"] == "burst %d" % i)
    ok("burst from " + a.domain)


async def subscribe(a, b):
    a.send_presence_subscription(pto=b.me, ptype="subscribe")
    p = await a.get("presence_available", lambda p: p["from"].bare == b.me)
    ok("presence of " + b.domain)


async def room(a, b):
    """a makes a room at its server, b comes."""
    name = "lab@conference." + a.domain
    await a["xep_0045"].join_muc_wait(name, "host", timeout=15)
    iq = a.make_iq_set(ito=name)
    iq.append(ET.fromstring("<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query>"))
    await iq.send(timeout=15)
    await b["xep_0045"].join_muc_wait(name, "guest", timeout=15)
    b.send_message(mto=name, mbody="in the room", mtype="groupchat")
    for c in (a, b):
        await c.get("groupchat_message", lambda m: m["body"] == "in the room" and m["from"].resource == "guest")
    ok("room at " + a.domain)


async def owner(a, b):
    """a makes b, of another server, an owner of its room; b configures it and reads what was said there."""
    name = "owned@conference." + a.domain
    muc, form = "http://jabber.org/protocol/muc", "{jabber:x:data}"
    await a["xep_0045"].join_muc_wait(name, "host", timeout=15)

    async def configure(c, **fields):
        values = "".join("<field var='muc#roomconfig_%s'><value>%s</value></field>" % f for f in fields.items())
        iq = c.make_iq_set(ito=name)
        iq.append(ET.fromstring("<query xmlns='%s#owner'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>%s#roomconfig</value></field>%s</x></query>" % (muc, muc, values)))
        await iq.send(timeout=15)
    await configure(a, persistentroom=1)
    await a["xep_0045"].set_affiliation(name, "owner", jid=b.me)
    await configure(b, roomname="of " + b.domain, moderatedroom=1)
    iq = a.make_iq_get(ito=name)
    iq.append(ET.fromstring("<query xmlns='%s#owner'/>" % muc))
    got = {f.get("var"): f.findtext(form + "value") for f in (await iq.send(timeout=15)).xml.iter(form + "field")}
    if got["muc#roomconfig_roomname"] == "of " + b.domain and got["muc#roomconfig_moderatedroom"] in ("1", "true"):
        ok("owner at " + a.domain)
    await b["xep_0045"].join_muc_wait(name, "remote", timeout=15)
    for i in range(3):
        b.send_message(mto=name, mbody="kept %d" % i, mtype="groupchat")
        await a.get("groupchat_message", lambda m: m["body"] == "kept %d" % i)
    said = [r["mam_result"]["forwarded"]["stanza"]["body"] async for r in b["xep_0313"].iterate(jid=name, rsm={"max": 2}, total=10)]
    if [s for s in said if s.startswith("kept")] == ["kept 0", "kept 1", "kept 2"]:
        ok("room archive at " + a.domain)


async def node(a, b):
    """b, of another server, subscribes to a node at a's service, gets what a publishes, reads it, and publishes itself once it may."""
    service, name, p = "pubsub." + a.domain, "news", a["xep_0060"]
    await p.create_node(service, name, timeout=15)
    await b["xep_0060"].subscribe(service, name, bare=False, timeout=15)

    async def publish(c, text):
        item = ET.fromstring("<entry xmlns='urn:example:news'>%s</entry>" % text)
        await c["xep_0060"].publish(service, name, payload=item, timeout=15)
        await b.get("pubsub_publish", lambda m: m["from"].bare == service and text in str(m))
    await publish(a, "first")
    items = await b["xep_0060"].get_items(service, name, timeout=15)
    if "first" in str(items):
        ok("node at " + a.domain)
    await p.modify_affiliations(service, name, [(b.me, "publisher")], timeout=15)
    await publish(b, "second")
    ok("publisher at " + a.domain)


async def restart(a, b, folder):
    """b's server is killed, a writes to b, the server comes back."""
    def sign(name):
        return os.path.join(folder, name)

    async def until(name):
        while not os.path.exists(sign(name)):
            await asyncio.sleep(0.05)
    open(sign("ready"), "w").close()
    await until("down")
    for i in range(20):
        a.send_message(mto=b.me, mbody="waiting %d" % i, mtype="chat")
    await a["xep_0199"].ping(timeout=15)  # the server has them
    b.abort()
    open(sign("sent"), "w").close()
    await until("up")
    b = Client("juliet", b.domain, sys.argv[3])
    await asyncio.wait_for(b.ready, 25)
    for i in range(20):
        m = await b.get("message", lambda m: m["body"].startswith("waiting"), 30)
        assert m["body"] == "waiting %d" % i, m
    ok("waited for " + b.domain)
    b.abort()


async def refused(a, b):
    a.send_message(mto=b.me, mbody="not there", mtype="chat")
    m = await a.get("message_error", lambda m: m["from"].bare == b.me)
    ok("refused to %s: %s" % (b.domain, m["error"]["condition"]))


async def archive(a, b):
    """what b has written is in a's archive."""
    found = 0
    async for r in a["xep_0313"].iterate(with_jid=b.me, rsm={"max": 50}, total=400):
        if r["mam_result"]["forwarded"]["stanza"]["body"].startswith("hello"):
            found += 1
    if found >= 2:
        ok("archive at " + a.domain)


async def avatar(a, b):
    h = hashlib.sha1(PIXEL).hexdigest()
    await a["xep_0084"].publish_avatar(PIXEL, timeout=15)
    await a["xep_0084"].publish_avatar_metadata([{"id": h, "type": "image/png", "bytes": len(PIXEL)}], timeout=15)
    m = await b.get("avatar_metadata_publish", lambda m: m["from"].bare == a.me)
    data = await b["xep_0084"].retrieve_avatar(a.me, m["pubsub_event"]["items"]["item"]["avatar_metadata"]["info"]["id"], timeout=15)
    if data["pubsub"]["items"]["item"]["avatar_data"]["value"] == PIXEL:
        ok("avatar of " + a.domain)


async def bytestream(a, b):
    """a file through the proxy of a's server."""
    got, data = bytearray(), b"x" * 100000
    over = asyncio.get_event_loop().create_future()

    def received(chunk):
        got.extend(chunk)
        if len(got) >= len(data) and not over.done():
            over.set_result(True)
    b["xep_0065"].auto_accept = True
    b.add_event_handler("socks5_data", received)
    a["xep_0065"]._proxies = {}
    s = await a["xep_0065"].handshake(b.boundjid.full, timeout=15)
    s.transport.write(data)
    await asyncio.wait_for(over, 15)
    if bytes(got) == data:
        ok("proxy of " + a.domain)


async def upload(a, b):
    """a file at a's server, fetched by who b is."""
    data = b"y" * 50000
    slot = await a["xep_0363"].request_slot("upload." + a.domain, "lab.txt", len(data), "text/plain", timeout=15)
    put, loop = slot["http_upload_slot"]["put"], asyncio.get_event_loop()
    trust = ssl.create_default_context(cafile=CA)

    def request(method, url, body=None, headers=()):
        r = urllib.request.Request(url, data=body, method=method, headers=dict(headers))
        return urllib.request.urlopen(r, timeout=15, context=trust).read()
    headers = {h["name"]: h["value"] for h in put["headers"]}
    headers["Content-Type"] = "text/plain"
    await loop.run_in_executor(None, lambda: request("PUT", put["url"], data, headers))
    a.send_message(mto=b.me, mbody=slot["http_upload_slot"]["get"]["url"], mtype="chat")
    m = await b.get("message", lambda m: m["body"].startswith("https://"))
    if await loop.run_in_executor(None, lambda: request("GET", m["body"])) == data:
        ok("upload at " + a.domain)


async def attempt(name, step):
    try:
        await step
    except Exception:
        print("failed:", name, flush=True)
        traceback.print_exc(file=sys.stdout)


async def main():
    k = Client("romeo", sys.argv[2], sys.argv[1])
    p = Client("juliet", sys.argv[4], sys.argv[3])
    await asyncio.wait_for(asyncio.gather(k.ready, p.ready), 25)
    if "refused" in sys.argv[5:]:
        await attempt("refused", refused(k, p))
        await attempt("refused", refused(p, k))
        k.abort()
        p.abort()
        return
    await attempt("chat", chat(k, p, "chat to " + p.domain))
    await attempt("chat", chat(p, k, "chat to " + k.domain))
    if "restart" in sys.argv[5:]:
        await attempt("restart", restart(k, p, sys.argv[7]))
        k.abort()
        return
    if "brief" in sys.argv[5:]:
        k.abort()
        p.abort()
        return
    await attempt("burst", burst(k, p))
    await attempt("burst", burst(p, k))
    await attempt("subscribe", subscribe(k, p))
    await attempt("subscribe", subscribe(p, k))
    await attempt("room", room(k, p))
    await attempt("room", room(p, k))
    await attempt("owner", owner(k, p))
    await attempt("owner", owner(p, k))
    await attempt("node", node(k, p))
    await attempt("node", node(p, k))
    await attempt("archive", archive(k, p))
    await attempt("archive", archive(p, k))
    await attempt("avatar", avatar(k, p))
    await attempt("avatar", avatar(p, k))
    await attempt("upload", upload(k, p))
    await attempt("upload", upload(p, k))
    await attempt("proxy", bytestream(k, p))
    await attempt("proxy", bytestream(p, k))
    k.abort()
    p.abort()


asyncio.get_event_loop().run_until_complete(main())
