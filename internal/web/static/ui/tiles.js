// The tiles: one per participant (camera, or initials) and one per shared screen. In the grid all have the same size; with one on
// stage the others stand in a strip. Whatever is shown decides what is asked of the bridge: Conference.view() gets the height that
// each tile has on the screen.

import { h, setText } from './dom.js';
import { icon } from './icons.js';
import { displayName, hue, initials } from './common.js';
import { t } from '../i18n.js';
import * as settings from '../settings.js';

const RATIO = 16 / 9;
const GAP = 10; // px between tiles, as in style.css
const SMALL = 180; // lines of video in the strip and in small tiles of the grid
const MEDIUM = 360; // lines of larger tiles of the grid; more only on stage
const SMALL_TILE = 220; // device pixels; tiles up to this height get SMALL

export class Tiles {
  constructor({ conference, media }) {
    this.conference = conference;
    this.media = media;
    this.tiles = new Map(); // key -> Tile; key is the source name of the video
    this.stage = null; // key that a person enlarged
    this.auto = null; // key of a shared screen that nobody chose, shown while nothing else is
    this.follow = false; // the speaker is on stage while nothing else is
    this.speaker = null; // key of the last speaker besides us
    this.output = settings.get('output', '');
    this.list = h('div', { class: 'strip', role: 'list', label: 'meeting.stage' });
    this.main = h('div', { class: 'stage', role: 'list', label: 'meeting.stage', hidden: true });
    this.audio = h('div', { hidden: true });
    this.empty = this.#invitation();
    this.element = h('section', { class: 'tiles' }, this.main, this.list, this.empty, this.audio);
    this.resize = new ResizeObserver(() => this.#arrange());
    this.resize.observe(this.element);
  }

  close() {
    this.resize.disconnect();
    for (const a of this.audio.children) a.srcObject = null;
  }

  // setStage enlarges a tile by its key (null: equal sizes); a second time makes it small again.
  setStage(key) {
    this.stage = key && this.tiles.has(key) ? key : null;
    if (!this.stage) this.auto = null;
    if (!this.stage) this.follow = false;
    this.#arrange();
  }

  toggleStage(key) {
    this.setStage(this.staged === key ? null : key);
  }

  get staged() {
    return this.stage ?? this.auto ?? (this.follow ? this.speaker : null);
  }

  // setFollow chooses the view: everybody in equal size, or the speaker large.
  setFollow(on) {
    this.follow = on;
    this.stage = this.auto = null;
    this.#speaker(this.conference.dominant);
    this.#arrange();
  }

  // refresh makes the tiles what the conference says now.
  refresh() {
    const { conference } = this;
    const others = conference.participants;
    const wanted = new Map();
    const self = conference.self;
    if (self) {
      wanted.set(`${self.id}-v0`, { person: { ...self, self: true, active: true, quality: conference.call.quality }, track: this.media.tracks.v0, audioMuted: !this.media.sending('a0') });
      if (this.media.tracks.v1) wanted.set(`${self.id}-v1`, { person: { ...self, self: true }, track: this.media.tracks.v1, desktop: true });
    }
    for (const p of others) {
      const muted = (name) => p.sources[name]?.muted ?? true;
      const videos = p.media.filter((m) => m.source.kind === 'video');
      const desktop = (m) => (p.sources[m.source.name]?.videoType ?? m.source.videoType) === 'desktop';
      const camera = videos.find((m) => !desktop(m));
      const key = camera?.source.name ?? `${p.id}-v0`;
      wanted.set(key, { person: p, track: camera && !muted(key) ? camera.track : null, audioMuted: muted(`${p.id}-a0`) });
      for (const m of videos) {
        if (desktop(m) && !muted(m.source.name)) wanted.set(m.source.name, { person: p, track: m.track, desktop: true });
      }
    }
    for (const [key, tile] of this.tiles) {
      if (wanted.has(key)) continue;
      tile.element.remove();
      this.tiles.delete(key);
    }
    const { hands } = conference;
    for (const [key, what] of wanted) {
      let tile = this.tiles.get(key);
      if (!tile) {
        tile = new Tile(key, () => this.toggleStage(key));
        this.tiles.set(key, tile);
        if (what.desktop && !what.person.self) this.auto = key;
      }
      tile.show({ ...what, hand: hands.indexOf(what.person.id) + 1 });
    }
    if (!this.tiles.has(this.stage)) this.stage = null;
    if (!this.tiles.has(this.auto)) this.auto = null;
    this.#speaker(this.conference.dominant);
    this.empty.hidden = others.length > 0;
    this.#audio(others);
    this.#arrange();
  }

  // speaking marks the dominant speaker.
  speaking(id) {
    for (const tile of this.tiles.values()) tile.element.classList.toggle('speaking', tile.person.id === id && !tile.desktop);
    const before = this.staged;
    this.#speaker(id);
    if (this.staged !== before) this.#arrange();
  }

  // speaker is the last one who spoke besides us, or anybody else as long as nobody did.
  #speaker(id) {
    const camera = (t) => !t.person.self && !t.desktop;
    const spoken = [...this.tiles.values()].find((t) => camera(t) && t.person.id === id);
    if (spoken) this.speaker = spoken.key;
    if (!this.tiles.has(this.speaker)) this.speaker = [...this.tiles.values()].find(camera)?.key ?? null;
  }

  #audio(others) {
    const wanted = new Map(others.flatMap((p) => p.media.filter((m) => m.source.kind === 'audio').map((m) => [m.source.name, m.track])));
    for (const a of [...this.audio.children]) {
      if (wanted.get(a.dataset.source) === a.track) wanted.delete(a.dataset.source);
      else (a.srcObject = null), a.remove();
    }
    for (const [name, track] of wanted) {
      const a = h('audio', { autoplay: true, 'data-source': name });
      a.track = track;
      a.srcObject = new MediaStream([track]);
      this.#route(a);
      this.audio.append(a);
      a.play().catch(() => this.onblocked?.());
    }
  }

  // setOutput chooses the loudspeaker for all.
  setOutput(deviceId) {
    this.output = deviceId;
    for (const a of this.audio.children) this.#route(a);
  }

  #route(a) {
    if (this.output) a.setSinkId?.(this.output).catch((err) => console.warn('loudspeaker:', err.message)); // one that is gone: the default
  }

  play() {
    for (const a of this.audio.children) a.play().catch(() => {});
  }

  #arrange() {
    const { staged } = this;
    this.element.classList.toggle('staged', Boolean(staged));
    this.main.hidden = !staged;
    const large = this.tiles.get(staged);
    if (large && large.element.parentElement !== this.main) this.#move(large, () => this.main.replaceChildren(large.element));
    [...this.tiles.values()]
      .filter((tile) => tile !== large)
      .forEach((tile, i) => {
        const at = this.list.children[i] ?? null; // moved only when out of place: moving stops a video for a moment
        if (at !== tile.element) this.#move(tile, () => this.list.insertBefore(tile.element, at));
      });
    for (const tile of this.tiles.values()) tile.setStaged(tile === large);
    if (!staged) this.#grid();
    else this.list.removeAttribute('style');
    this.#view();
    this.onarranged?.();
  }

  #move(tile, move) {
    const focused = tile.element.contains(document.activeElement);
    move();
    tile.video.play().catch(() => {});
    if (focused) tile.button.focus();
  }

  // grid finds the number of columns that makes the tiles largest.
  #grid() {
    const n = this.tiles.size;
    const { clientWidth: w, clientHeight: height } = this.list;
    let best = { width: 0, columns: 1 };
    for (let columns = 1; columns <= n; columns++) {
      const rows = Math.ceil(n / columns);
      const width = Math.min((w - GAP * (columns - 1)) / columns, ((height - GAP * (rows - 1)) / rows) * RATIO);
      if (width > best.width) best = { width, columns };
    }
    const width = Math.max(best.width, Math.min(w, 150)); // very many: scroll
    this.list.style.setProperty('--tile', `${Math.floor(width)}px`);
  }

  #view() {
    const heights = {};
    for (const [key, tile] of this.tiles) {
      if (tile.person.self || key === this.staged) continue;
      const px = tile.element.clientHeight * (window.devicePixelRatio || 1);
      heights[key] = this.staged || px <= SMALL_TILE ? SMALL : MEDIUM;
    }
    const stage = this.staged && !this.tiles.get(this.staged).person.self ? this.staged : null;
    this.conference.call.view({ stage, heights, fallback: SMALL });
  }

  #invitation() {
    const link = location.origin + location.pathname;
    const copied = h('span', { class: 'copied', role: 'status' });
    return h(
      'div',
      { class: 'invitation' },
      h('h2', { t: 'meeting.alone' }),
      h('p', { t: 'meeting.invite' }),
      h(
        'div',
        { class: 'joined' },
        h('input', { readOnly: true, value: link, label: 'meeting.copy', onfocus: (ev) => ev.target.select() }),
        h('button', { class: 'primary', type: 'button', label: 'meeting.copy', onclick: async () => (await navigator.clipboard?.writeText(link).catch(() => {}), setText(copied, 'meeting.copied')) }, icon('link')),
      ),
      copied,
    );
  }
}

class Tile {
  constructor(key, onclick) {
    this.key = key;
    this.video = h('video', { autoplay: true, muted: true, playsInline: true, 'aria-hidden': 'true' });
    this.avatar = h('div', { class: 'avatar', 'aria-hidden': 'true' });
    this.name = h('span', { class: 'tile-name' });
    this.badges = h('span', { class: 'badges' });
    this.lost = h('span', { class: 'interrupted', hidden: true, t: 'meeting.interrupted' });
    this.quality = h('span', { class: 'quality', role: 'img' }, h('i'), h('i'), h('i'));
    this.button = h('button', { class: 'tile-button', type: 'button', onclick });
    this.element = h('div', { class: 'tile', role: 'listitem', 'data-key': key }, this.video, this.avatar, this.lost, h('div', { class: 'tile-foot' }, this.badges, this.name, this.quality), this.button);
  }

  show({ person, track, audioMuted, desktop = false, hand = 0 }) {
    this.person = person;
    this.desktop = desktop;
    const own = person.self;
    const name = own ? t('meeting.you') : displayName(person);
    this.title = desktop ? (own ? t('meeting.yourScreen') : t('meeting.screenOf', { name })) : name;
    if (this.track !== track) {
      this.track = track;
      this.video.srcObject = track ? new MediaStream([track]) : null;
    }
    this.video.hidden = !track;
    this.avatar.hidden = Boolean(track);
    this.avatar.textContent = initials(own ? person.name || t('meeting.you') : displayName(person));
    this.element.style.setProperty('--hue', hue(person.id));
    this.element.classList.toggle('desktop', desktop);
    this.element.classList.toggle('mirror', Boolean(own) && !desktop);
    this.element.classList.toggle('self', Boolean(own));
    this.name.textContent = this.title;
    const badges = [];
    if (!desktop && audioMuted) badges.push(h('span', { class: 'badge', role: 'img', label: 'meeting.muted' }, icon('micOff')));
    if (!desktop && hand) badges.push(h('span', { class: 'badge hand', role: 'img', 'aria-label': t('people.hand', { n: hand }) }, icon('hand'), h('b', {}, String(hand))));
    if (desktop) badges.push(h('span', { class: 'badge' }, icon('screen')));
    this.badges.replaceChildren(...badges);
    this.lost.hidden = person.active !== false;
    this.#quality(desktop ? null : person.quality);
    this.element.classList.toggle('speaking', Boolean(person.dominant) && !desktop);
    this.#label();
  }

  setStaged(staged) {
    this.staged = staged;
    this.#label();
  }

  #label() {
    const label = t(this.staged ? 'tile.shrink' : 'tile.enlarge', { name: this.title });
    this.button.setAttribute('aria-label', label);
    this.button.setAttribute('aria-pressed', String(Boolean(this.staged)));
  }

  #quality(value) {
    this.quality.hidden = value === null || value === undefined;
    if (this.quality.hidden) return;
    const bars = value > 70 ? 3 : value > 35 ? 2 : 1;
    this.quality.dataset.bars = bars;
    this.quality.setAttribute('aria-label', t('meeting.quality', { n: bars }));
  }
}
