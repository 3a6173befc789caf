// The page: / is the home page, /<room> a meeting. Everything below window.konzil is for tests and the curious:
//
//   konzil.state                     'home', or that of the conference (proto/conference.js)
//   konzil.participants              the others: {id, name, role, hand, media: [{source, track}], ...}
//   konzil.stats()                   promise of {inbound, outbound, path}, by source name
//   konzil.setStage(source | null)   enlarge a tile
//   konzil.sendChat(text), konzil.messages, konzil.conference, konzil.media
//
// Options after # in the address, for tests of the TURN paths: relay=1 (no direct path), turn=udp, tcp or tls (which TURN servers).

import { Conference } from './proto/conference.js';
import { LocalMedia } from './proto/media.js';
import { choose, language, onLanguage, setLanguage } from './i18n.js';
import * as settings from './settings.js';
import { translate } from './ui/dom.js';
import { homeView, roomOf } from './ui/home.js';
import { doorView } from './ui/door.js';
import { meetingView } from './ui/meeting.js';

const app = document.getElementById('app');

function start() {
  setLanguage(settings.get('language') ?? choose(navigator.languages ?? [navigator.language]));
  document.documentElement.lang = language();
  onLanguage((lang) => {
    document.documentElement.lang = lang;
    settings.set('language', lang);
    translate();
  });

  const room = roomOf(location.pathname);
  if (!room) {
    window.konzil = { state: 'home' };
    app.append(homeView(room === null ? 'home.badRoom' : undefined));
    return;
  }
  document.title = `${room} · Konzil`;
  meet(room);
}

function meet(room) {
  const options = new URLSearchParams(location.hash.slice(1));
  const media = new LocalMedia({ micId: settings.get('mic'), cameraId: settings.get('camera'), outputId: settings.get('output') });
  const conference = new Conference({
    config: window.config,
    room,
    media,
    options: { relayOnly: options.get('relay') === '1', turn: options.get('turn') ?? undefined },
  });
  let view = null;
  const show = (next) => {
    view?.close();
    view = next;
    app.replaceChildren(view.element);
    view.shown?.();
  };
  const door = doorView({
    room,
    media,
    oncancel: () => conference.cancel(),
    onjoin: async (login) => {
      await conference.join(login); // the door says what goes wrong
      settings.visited(room);
      show(meetingView({ conference, media, onleave: () => conference.leave() }));
    },
  });
  conference.on('state', (state) => state === 'waiting' && door.waiting());
  conference.on('ended', () => media.close());
  addEventListener('pagehide', () => {
    conference.leave();
    media.close();
  });

  window.konzil = {
    conference,
    media,
    get state() {
      return conference.state;
    },
    get participants() {
      return conference.participants;
    },
    get messages() {
      return conference.chat.messages;
    },
    stats: () => conference.call.stats(),
    sendChat: (text) => conference.chat.send(text),
    setStage: (source) => view?.setStage?.(source),
  };
  show(door);
}

start();
