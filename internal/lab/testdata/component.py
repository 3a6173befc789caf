"""A slixmpp component and two clients; says "ok STEP" for each step that went right. Arguments: address of the server, its domain, password suffix."""
import asyncio
import ssl
import sys

import slixmpp
from slixmpp.componentxmpp import ComponentXMPP
from slixmpp.stanza import Message
from slixmpp.xmlstream import ET
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

ADDR, DOMAIN = sys.argv[1], sys.argv[2]
GATEWAY = "gw." + DOMAIN
DELEGATED = "urn:example:delegated"


def ok(step):
    print("ok", step, flush=True)


class Client(slixmpp.ClientXMPP):
    def __init__(self, user):
        super().__init__(user + "@" + DOMAIN + "/lab", user + "-secret")
        self.ssl_context.check_hostname = False
        self.ssl_context.verify_mode = ssl.CERT_NONE
        self.messages, self.carbons, self.pushes = asyncio.Queue(), asyncio.Queue(), asyncio.Queue()
        self.ready = asyncio.get_event_loop().create_future()
        self.register_plugin("xep_0280")
        self.add_event_handler("session_start", self.start)
        self.add_event_handler("message", self.messages.put_nowait)
        self.add_event_handler("carbon_sent", self.carbons.put_nowait)
        self.add_event_handler("roster_update", self.pushes.put_nowait)
        self.connect((ADDR, 5222))

    async def start(self, _):
        await self.get_roster()
        self.send_presence()
        await self["xep_0280"].enable()
        self.ready.set_result(True)


def component(secret):
    c = ComponentXMPP(GATEWAY, secret, ADDR, 5347)
    c.register_plugin("xep_0030")
    c.register_plugin("xep_0356")
    return c


async def get(queue, wanted=lambda x: True):
    while True:
        x = await asyncio.wait_for(queue.get(), 10)
        if wanted(x):
            return x


async def refused():
    c = component("wrong")
    over = asyncio.get_event_loop().create_future()
    c.add_event_handler("stream_error", lambda e: over.done() or over.set_result(e["condition"]))
    c.add_event_handler("disconnected", lambda e: over.done() or over.set_result("gone"))
    c.connect()
    if await asyncio.wait_for(over, 10) == "not-authorized":
        ok("refused")
    c.abort()


async def main():
    await refused()
    alice, bob = Client("alice"), Client("bob")
    await asyncio.wait_for(asyncio.gather(alice.ready, bob.ready), 20)
    gw = component("secret-of-gw")
    messages, presences, told = asyncio.Queue(), asyncio.Queue(), asyncio.Queue()
    gw.add_event_handler("message", messages.put_nowait)
    gw.add_event_handler("presence_available", presences.put_nowait)
    gw.add_event_handler("privileges_advertised", told.put_nowait)
    gw.server_host = DOMAIN

    async def delegated(iq):
        inner = iq.xml.find(".//{jabber:client}iq")
        answer = gw.make_iq_result(id=iq["id"], ito=iq["from"], ifrom=GATEWAY)
        answer.append(ET.fromstring(
            "<delegation xmlns='urn:xmpp:delegation:2'><forwarded xmlns='urn:xmpp:forward:0'><iq xmlns='jabber:client' type='result' id='%s'>"
            "<query xmlns='%s'><answer/></query></iq></forwarded></delegation>" % (inner.get("id"), DELEGATED)))
        answer.send()

    gw.register_handler(Callback("delegated", MatchXPath("{jabber:component:accept}iq/{urn:xmpp:delegation:2}delegation"),
                                 lambda iq: asyncio.ensure_future(delegated(iq))))
    gw.connect()
    await get(told)
    perms = gw["xep_0356"].granted_privileges
    if (perms["roster"], perms["message"], perms["presence"]) == ("both", "outgoing", "managed_entity"):
        ok("privileges")
    await get(presences, lambda p: p["from"].bare == "alice@" + DOMAIN)
    ok("presence")

    alice.send_message(mto="bot@" + GATEWAY, mbody="to the gateway", mtype="chat")
    m = await get(messages, lambda m: m["body"] == "to the gateway")
    gw.send_message(mto=m["from"], mfrom="bot@" + GATEWAY, mbody="from the gateway", mtype="chat")
    m = await get(alice.messages, lambda m: m["body"] == "from the gateway")
    if m["from"] == "bot@" + GATEWAY:
        ok("messages")

    await gw["xep_0356"].set_roster("alice@" + DOMAIN, {"legacy@" + GATEWAY: {"name": "Legacy", "subscription": "both", "groups": []}})
    await get(alice.pushes, lambda p: "legacy@" + GATEWAY in p["roster"]["items"])
    roster = await gw["xep_0356"].get_roster("alice@" + DOMAIN)
    if "legacy@" + GATEWAY in roster["roster"]["items"]:
        ok("roster")

    msg = Message()
    msg["from"], msg["to"], msg["type"], msg["body"] = "alice@" + DOMAIN, "bob@" + DOMAIN, "chat", "as alice"
    gw["xep_0356"].send_privileged_message(msg)
    m = await get(bob.messages, lambda m: m["body"] == "as alice")
    c = await get(alice.carbons)
    if m["from"].bare == "alice@" + DOMAIN and c["carbon_sent"]["body"] == "as alice":
        ok("message for an account")

    iq = gw.make_iq_get(ifrom=GATEWAY, ito="alice@" + DOMAIN)
    iq.append(ET.fromstring(
        "<privileged_iq xmlns='urn:xmpp:privilege:2'><iq xmlns='jabber:client' type='get' id='inner'>"
        "<query xmlns='http://jabber.org/protocol/disco#items'/></iq></privileged_iq>"))
    answer = await iq.send(timeout=10)
    inner = answer.xml.find("{urn:xmpp:privilege:2}privilege/{urn:xmpp:forward:0}forwarded/{jabber:client}iq")
    if inner.get("id") == "inner" and inner.get("type") == "result":
        ok("iq for an account")
    iq = gw.make_iq_get(ifrom=GATEWAY, ito="alice@" + DOMAIN)
    iq.append(ET.fromstring(
        "<privileged_iq xmlns='urn:xmpp:privilege:2'><iq xmlns='jabber:client' type='get' id='inner'><query xmlns='jabber:iq:private'/></iq></privileged_iq>"))
    try:
        await iq.send(timeout=10)
    except slixmpp.exceptions.IqError as e:
        if e.iq.xml.find(".//{urn:ietf:params:xml:ns:xmpp-stanzas}forbidden") is not None:
            ok("iq forbidden")

    iq = alice.make_iq_get()
    iq.append(ET.fromstring("<query xmlns='%s'/>" % DELEGATED))
    answer = await iq.send(timeout=10)
    if answer.xml.find(".//{%s}answer" % DELEGATED) is not None:
        ok("delegation")

    gone = asyncio.get_event_loop().create_future()
    gw.add_event_handler("stream_error", lambda e: gone.done() or gone.set_result(e["condition"]))
    gw.send_raw("<message from='alice@%s' to='bob@%s'><body>forged</body></message>" % (DOMAIN, DOMAIN))
    if await asyncio.wait_for(gone, 10) == "invalid-from":
        ok("forged")
    for x in (gw, alice, bob):
        x.abort()


asyncio.get_event_loop().run_until_complete(main())
