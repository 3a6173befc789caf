"""Two endpoints of one conference, each an RTCPeerConnection of aiortc, driven by COLIBRI2 over HTTP: sys.argv[1] is the URL of the conferences.
Ends with 0 when each has got audio, video, reports and a message of the other."""
import asyncio
import json
import re
import sys
import urllib.request

from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack

URL = sys.argv[1]
ENOUGH = 25  # frames of each kind


def medias(opus, vp8):
    return [
        {"type": "audio", "payload-types": [{"name": "opus", "id": str(opus), "channels": "2", "clockrate": "48000"}]},
        {"type": "video", "payload-types": [{"name": "VP8", "id": str(vp8), "clockrate": "90000", "rtcp-fbs": [{"type": "nack"}, {"type": "nack", "subtype": "pli"}]}]},
    ]


def ask(method, path, body):
    request = urllib.request.Request(URL + path, json.dumps(body).encode(), {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def offer(transport, opus, vp8):
    """The bridge's side as SDP, with these payload types."""
    t = transport["transport"]
    f = t["fingerprints"][0]
    ice = [f"a=ice-ufrag:{t['ufrag']}", f"a=ice-pwd:{t['pwd']}", f"a=fingerprint:{f['hash']} {f['fingerprint']}", "a=setup:actpass"]
    for c in t["candidates"]:
        if c["protocol"] == "udp":
            ice.append(f"a=candidate:{c['foundation']} {c['component']} udp {c['priority']} {c['ip']} {c['port']} typ {c['type']}")
    lines = ["v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0", "a=group:BUNDLE 0 1 2"]
    for mid, media in enumerate([
        [f"m=audio 9 UDP/TLS/RTP/SAVPF {opus}", f"a=rtpmap:{opus} opus/48000/2", "a=sendrecv", "a=rtcp-mux"],
        [f"m=video 9 UDP/TLS/RTP/SAVPF {vp8}", f"a=rtpmap:{vp8} VP8/90000", f"a=rtcp-fb:{vp8} nack", f"a=rtcp-fb:{vp8} nack pli", "a=sendrecv", "a=rtcp-mux"],
        ["m=application 9 UDP/DTLS/SCTP webrtc-datachannel", f"a=sctp-port:{transport['sctp']['port']}", "a=max-message-size:262144"],
    ]):
        lines += [media[0], "c=IN IP4 0.0.0.0", f"a=mid:{mid}"] + media[1:] + ice
    return "\r\n".join(lines) + "\r\n"


class Endpoint:
    def __init__(self, name, *numbers):
        self.numbers = numbers  # payload types of Opus and VP8
        self.name, self.pc, self.frames, self.said = name, RTCPeerConnection(), {"audio": 0, "video": 0}, []
        self.tasks = []

    def asked(self):
        return {"create": True, "id": self.name, "medias": medias(*self.numbers), "transport": {"ice-controlling": True, "sctp": {}}, "capabilities": ["source-names"]}

    async def join(self, conference, transport):
        self.pc.on("track", lambda track: self.tasks.append(asyncio.ensure_future(self.pull(track))))
        await self.pc.setRemoteDescription(RTCSessionDescription(offer(transport, *self.numbers), "offer"))
        self.channel = self.pc.createDataChannel("JVB data channel", protocol="http://jitsi.org/protocols/colibri")
        self.channel.on("message", self.said.append)
        self.channel.on("open", lambda: self.say({"colibriClass": "ReceiverVideoConstraints", "lastN": -1, "defaultConstraints": {"maxHeight": 720}}))
        self.pc.addTrack(AudioStreamTrack())
        self.pc.addTrack(VideoStreamTrack())
        await self.pc.setLocalDescription(await self.pc.createAnswer())
        sdp = self.pc.localDescription.sdp
        candidates = [
            dict(zip(["foundation", "component", "protocol", "priority", "ip", "port", "type"], c), generation="0", id=str(i))
            for i, c in enumerate(re.findall(r"a=candidate:(\S+) (\S+) (\S+) (\S+) (\S+) (\S+) typ (\S+)", sdp))
        ]
        print_ = re.search(r"a=fingerprint:sha-256 (\S+)", sdp).group(1)
        sources = []
        for section in sdp.split("m=")[1:]:
            kind, ssrc = section.split()[0], re.search(r"a=ssrc:(\d+) cname", section)
            if ssrc:
                name = f"{self.name}-{kind[0]}0"
                sources.append({"type": kind, "id": name, "sources": [{"ssrc": int(ssrc.group(1)), "name": name}]})
        ask("PATCH", "/" + conference, {"endpoints": [{"id": self.name, "sources": sources, "transport": {"transport": {
            "ufrag": re.search(r"a=ice-ufrag:(\S+)", sdp).group(1), "pwd": re.search(r"a=ice-pwd:(\S+)", sdp).group(1), "rtcp-mux": True,
            "fingerprints": [{"hash": "sha-256", "fingerprint": print_, "setup": "active"}], "candidates": candidates}}}]})

    def say(self, message):
        self.channel.send(json.dumps(message))

    async def pull(self, track):
        while True:
            await track.recv()
            self.frames[track.kind] += 1

    def served(self):
        return all(n >= ENOUGH for n in self.frames.values())

    async def reported(self):
        stats = await self.pc.getStats()
        return sum(s.type == "remote-inbound-rtp" for s in stats.values()) == 2


async def main():
    conference = "aiortc"
    a, b = Endpoint("aaaa1111", 111, 100), Endpoint("bbbb2222", 97, 111)  # a number means something else to each
    first = ask("POST", "", {"meeting-id": conference, "name": "room@conference.example", "create": True, "endpoints": [a.asked()]})
    second = ask("PATCH", "/" + conference, {"endpoints": [b.asked()]})
    await a.join(conference, first["endpoints"][0]["transport"])
    await b.join(conference, second["endpoints"][0]["transport"])
    greeting = lambda e: any("greeting" in m for m in e.said)
    try:
        for _ in range(200):
            await asyncio.sleep(0.1)
            if a.channel.readyState == "open" == b.channel.readyState and not (greeting(a) and greeting(b)):
                a.say({"colibriClass": "EndpointMessage", "to": b.name, "msgPayload": {"greeting": 1}})
                b.say({"colibriClass": "EndpointMessage", "to": "", "msgPayload": {"greeting": 2}})
            if a.served() and b.served() and greeting(a) and greeting(b) and await a.reported() and await b.reported():
                return 0
        for e in a, b:
            print(e.name, e.pc.connectionState, e.channel.readyState, e.frames, "reports:", await e.reported(), e.said[-5:])
        return 1
    finally:
        for e in a, b:
            for task in e.tasks:
                task.cancel()
            await e.pc.close()


sys.exit(asyncio.run(main()))
