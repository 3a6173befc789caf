"""A slixmpp client that a test steers: one JSON command a line on stdin, one JSON event a line on stdout.

Started as: chat.py '{"jid": ..., "password": ..., "host": ..., "port": ..., "ca": ..., "tls": "starttls"|"direct",
"mech": "SCRAM-SHA-256", "tls12": true}'; without mech the client chooses, with it that one or its -PLUS.
"""
import asyncio
import io
import json
import os
import ssl
import sys
import xml.etree.ElementTree as ET

import slixmpp
from slixmpp.exceptions import IqError, IqTimeout, PresenceError
from slixmpp.plugins.xep_0198.stanza import Resume
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import StanzaPath


def emit(event, **fields):
    fields["event"] = event
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


class Chat(slixmpp.ClientXMPP):
    def __init__(self, opt):
        super().__init__(opt["jid"], opt.get("password", ""))
        self.opt = opt
        if opt.get("mech"):
            self["feature_mechanisms"].use_mechs = {opt["mech"], opt["mech"] + "-PLUS"}
        if opt.get("tls12"):
            self.ssl_context.maximum_version = ssl.TLSVersion.TLSv1_2
        self.ca_certs = opt["ca"]  # verify_mode CERT_REQUIRED and check_hostname stay on
        for plugin in ("xep_0030", "xep_0045", "xep_0115", "xep_0198", "xep_0199", "xep_0203", "xep_0280"):
            self.register_plugin(plugin)
        if opt.get("pep"):
            for plugin in ("xep_0060", "xep_0163", "xep_0084", "xep_0223"):
                self.register_plugin(plugin)
            self.add_event_handler("avatar_metadata_publish", self.on_avatar)
        if opt.get("files"):
            os.environ["SSL_CERT_FILE"] = opt["ca"]  # for the plugin's HTTP client
            self.register_plugin("xep_0065", {"auto_accept": True})
            self.register_plugin("xep_0363")
            self.add_event_handler("socks5_data", lambda d: emit("data", body=d.decode()))
        self.keep_unacked()
        on = self.add_event_handler
        on("session_start", self.on_start)
        on("session_resumed", lambda s: emit("resumed"))
        on("sm_enabled", lambda s: emit("sm", id=s["id"], resume=s["resume"]))
        on("sm_failed", lambda s: emit("sm_failed"))
        on("disconnected", lambda reason: emit("disconnected", reason=str(reason)))
        on("connection_failed", lambda why: emit("connection_failed", reason=str(why)))
        on("failed_auth", lambda f: emit("auth_failed", condition=f["condition"]))
        on("failed_all_auth", lambda _: emit("auth_given_up"))
        on("stream_error", lambda e: emit("stream_error", condition=e["condition"]))
        on("ssl_invalid_chain", lambda e: emit("tls_failed", reason=str(e)))
        on("ssl_invalid_cert", lambda e: emit("tls_failed", reason="certificate refused"))
        on("message", self.on_message)
        on("message_error", lambda m: emit("message_error", sender=m["from"].full, id=m["id"], condition=m["error"]["condition"]))
        on("presence_available", lambda p: emit("presence", sender=p["from"].full, type="available", status=p["status"]))
        on("presence_unavailable", lambda p: emit("presence", sender=p["from"].full, type="unavailable", status=p["status"]))
        self.register_handler(Callback("refused presence", StanzaPath("presence@type=error"),
                                       lambda p: emit("presence_error", sender=p["from"].full, condition=p["error"]["condition"])))
        # presence of rooms does not reach the handlers above
        on("groupchat_presence", lambda p: emit("occupant", sender=p["from"].full, status=p["status"], type="unavailable" if p["type"] == "unavailable" else "available"))
        for kind in ("subscribe", "subscribed", "unsubscribe", "unsubscribed"):
            on("presence_" + kind, lambda p, k=kind: emit("presence", sender=p["from"].bare, type=k, status=""))
        on("roster_update", self.on_roster)
        self.auto_authorize = None  # the test answers subscriptions itself
        self.auto_subscribe = False

    def keep_unacked(self):
        """slixmpp 1.8.3 empties its queue of unacknowledged stanzas when it sends <resume/>, so that it could not repeat them."""
        sm = self["xep_0198"]
        track = sm._handle_outgoing

        def outgoing(stanza):
            if isinstance(stanza, Resume):
                sm.enabled_out = True
                return stanza
            return track(stanza)

        self.del_filter("out_sync", track)
        self.add_filter("out_sync", outgoing)

    def dial(self):
        self.connect((self.opt["host"], self.opt["port"]), use_ssl=self.opt["tls"] == "direct", force_starttls=self.opt["tls"] != "direct")

    async def on_start(self, _):
        tls = self.transport.get_extra_info("ssl_object")
        emit("online", jid=self.boundjid.full, mech=self["feature_mechanisms"].mech.name,
             tls=tls.version(), verified=tls.context.verify_mode == ssl.CERT_REQUIRED and tls.context.check_hostname)

    def on_message(self, m):
        emit("message", type=m["type"], sender=m["from"].full, body=m["body"], id=m["id"], delayed=bool(m["delay"]["stamp"]))

    def on_avatar(self, m):
        emit("avatar", sender=m["from"].full, id=m["pubsub_event"]["items"]["item"]["id"])

    def on_roster(self, iq):
        emit("roster", items={str(jid): item["subscription"] + ("+ask" if item["ask"] else "") for jid, item in iq["roster"]["items"].items()})

    async def do(self, c):
        """Runs one command and emits "done", or "failed" with the stanza error's condition."""
        try:
            emit("done", n=c["n"], cmd=c["cmd"], result=await getattr(self, "cmd_" + c["cmd"])(c))
        except (IqError, PresenceError) as e:
            emit("failed", n=c["n"], cmd=c["cmd"], condition=e.condition, type=e.etype)
        except (IqTimeout, asyncio.TimeoutError):
            emit("failed", n=c["n"], cmd=c["cmd"], condition="timeout", type="")

    async def cmd_send(self, c):
        self.send_message(mto=c["to"], mbody=c["body"], mtype=c.get("type", "chat"))
        # done means: written to the socket, and kept until it is acknowledged
        await asyncio.wait_for(self.waiting_queue.join(), 10)

    async def cmd_presence(self, c):
        self.send_presence(pto=c.get("to") or None, ptype=c.get("type") or None, pstatus=c.get("status") or None)

    async def cmd_roster(self, c):
        await self.get_roster(timeout=10)

    async def cmd_forget(self, c):
        await self.del_roster_item(c["to"])

    async def cmd_ping(self, c):
        await self["xep_0199"].send_ping(c["to"], timeout=10)

    async def cmd_disco(self, c):
        info = await self["xep_0030"].get_info(jid=c["to"], timeout=10)
        return {"features": sorted(info["disco_info"]["features"]), "identities": [list(i) for i in info["disco_info"]["identities"]]}

    async def cmd_items(self, c):
        items = await self["xep_0030"].get_items(jid=c["to"], timeout=10)
        return sorted(str(i[0]) for i in items["disco_items"]["items"])

    async def cmd_join(self, c):
        # waits for occupants, self-presence, history and subject in the order of XEP-0045 §7.2
        own, subject, occupants, history = await self["xep_0045"].join_muc_wait(c["room"], c["nick"], timeout=15)
        return {"codes": sorted(own["muc"]["status_codes"]), "subject": subject["subject"],
                "occupants": sorted(p["from"].resource for p in occupants), "history": [m["body"] for m in history]}

    async def cmd_accept(self, c):
        # a new room is locked until its owner has taken the default settings (XEP-0045 §10.1.2)
        iq = self.make_iq_set(ito=c["room"])
        query = ET.Element("{http://jabber.org/protocol/muc#owner}query")
        ET.SubElement(query, "{jabber:x:data}x", type="submit")
        iq.append(query)
        await iq.send(timeout=10)

    async def cmd_leave(self, c):
        self.send_presence(pto=c["room"] + "/" + c["nick"], ptype="unavailable")

    async def cmd_raw(self, c):
        self.send_raw(c["xml"])

    async def cmd_avatar(self, c):
        data = c["data"].encode()
        await self["xep_0084"].publish_avatar(data, timeout=10)
        ident = self["xep_0084"].generate_id(data)
        await self["xep_0084"].publish_avatar_metadata([{"id": ident, "type": "image/png", "bytes": len(data)}], timeout=10)
        return ident

    async def cmd_publish(self, c):
        form = None
        if c.get("options"):
            form = self["xep_0004"].make_form(ftype="submit")
            form.add_field(var="FORM_TYPE", ftype="hidden", value="http://jabber.org/protocol/pubsub#publish-options")
            for var, value in c["options"].items():
                form.add_field(var="pubsub#" + var, value=value)
        await self["xep_0060"].publish(None, c["node"], id=c["item"], payload=ET.fromstring(c["xml"]), options=form, timeout=10)

    async def cmd_fetch(self, c):
        iq = await self["xep_0060"].get_items(c.get("to") or None, c["node"], timeout=10)
        return {i["id"]: ET.tostring(i["payload"], encoding="unicode") for i in iq["pubsub"]["items"]}

    async def cmd_upload(self, c):
        # slixmpp 1.8.3 cannot ask all entities at once with Python 3.11, so the service is looked for one by one
        items = await self["xep_0030"].get_items(jid=self.boundjid.domain, timeout=10)
        for item in items["disco_items"]["items"]:
            info = await self["xep_0030"].get_info(jid=item[0], timeout=10)
            if "urn:xmpp:http:upload:0" in info["disco_info"]["features"]:
                self["xep_0363"].upload_service = info["from"]
        return await self["xep_0363"].upload_file(c["name"], input_file=io.BytesIO(c["data"].encode()), timeout=10)

    async def cmd_stream(self, c):
        # finds the proxy, offers it, connects, activates (XEP-0065)
        sock = await self["xep_0065"].handshake(slixmpp.JID(c["to"]), timeout=10)
        await sock.write(c["data"].encode())

    async def cmd_reconnect(self, c):
        self.dial()

    async def cmd_quit(self, c):
        await self.disconnect(wait=2.0)


async def main():
    chat = Chat(json.loads(sys.argv[1]))
    lines = asyncio.StreamReader()
    await chat.loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    chat.dial()
    while line := await lines.readline():
        asyncio.ensure_future(chat.do(json.loads(line)))
    if chat.is_connected():
        await asyncio.wait_for(chat.disconnect(wait=1.0), 3)


asyncio.get_event_loop().run_until_complete(main())
