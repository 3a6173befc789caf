"""A slixmpp client driven by lines on stdin, reporting lines on stdout. Arguments: host port jid password."""
import asyncio
import ssl
import sys

from slixmpp import ClientXMPP


def say(*words):
    print(*words, flush=True)


class Client(ClientXMPP):
    def __init__(self, host, port, jid, password):
        super().__init__(jid, password)
        self.address = (host, int(port))
        self.leaving = False
        self.ssl_context.check_hostname = False
        self.ssl_context.verify_mode = ssl.CERT_NONE
        self.register_plugin("xep_0198")
        self.register_plugin("xep_0199")
        self.add_event_handler("session_start", self.started)
        self.add_event_handler("session_resumed", lambda _: say("RESUMED"))
        self.add_event_handler("sm_enabled", lambda _: say("SM"))
        self.add_event_handler("failed_auth", lambda s: say("FAILED", self["feature_mechanisms"].mech.name))
        self.add_event_handler("auth_success", lambda s: say("AUTH", self["feature_mechanisms"].mech.name))
        self.add_event_handler("message", lambda m: say("MSG", m["from"], m["body"]))
        self.add_event_handler("disconnected", self.gone)

    def dial(self):
        self.connect(self.address, use_ssl=False)

    async def started(self, _):
        self.send_presence()
        say("START", self.boundjid.full)

    def gone(self, _):
        if not self.leaving:
            self.dial()

    def command(self):
        line = sys.stdin.readline()
        if not line or line.startswith("QUIT"):
            self.leaving = True
            self.disconnect(wait=1.0)
            self.loop.call_later(1.0, self.loop.stop)
        elif line.startswith("BREAK"):
            self.transport.abort()
        else:
            to, body = line.split(None, 1)
            self.send_message(mto=to, mbody=body.strip(), mtype="chat")


client = Client(*sys.argv[1:5])
client.dial()
client.loop.add_reader(sys.stdin, client.command)
client.loop.run_forever()
