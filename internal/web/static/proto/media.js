// LocalMedia holds what this person sends: microphone (a0), camera (v0), screen (v1). It emits track (key, track or null)
// whenever a sender has to change, change (anything for the view), and problem ({key, name}) when a device cannot be used.

import { Emitter } from './emitter.js';

const CAMERA = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } };
const SCREEN_FPS = 15;

export class LocalMedia extends Emitter {
  constructor({ micId, cameraId, outputId } = {}) {
    super();
    this.deviceIds = { a0: micId, v0: cameraId, out: outputId };
    this.tracks = { a0: null, v0: null, v1: null };
    this.micOn = false;
    this.devices = { audioinput: [], videoinput: [], audiooutput: [] };
    this.problems = {};
    navigator.mediaDevices?.addEventListener('devicechange', () => this.refreshDevices());
  }

  // sending tells whether others hear or see something of key now.
  sending(key) {
    return key === 'a0' ? Boolean(this.tracks.a0 && this.micOn) : Boolean(this.tracks[key]);
  }

  async refreshDevices() {
    if (!navigator.mediaDevices) return;
    const all = await navigator.mediaDevices.enumerateDevices();
    for (const kind of Object.keys(this.devices)) this.devices[kind] = all.filter((d) => d.kind === kind && d.deviceId);
    this.emit('change');
  }

  // setMic opens the microphone when it is first wanted; afterwards muting only silences it, so that unmuting is instant.
  async setMic(on) {
    if (on && !this.tracks.a0) {
      const track = await this.#open('a0');
      if (!track) return;
    }
    this.micOn = on;
    if (this.tracks.a0) this.tracks.a0.enabled = on;
    this.#changed('a0');
  }

  // setCamera really closes the camera when off: its light goes out.
  async setCamera(on) {
    if (on) {
      if (this.tracks.v0 || !(await this.#open('v0'))) return;
    } else this.#drop('v0');
    this.#changed('v0');
  }

  async setDevice(key, deviceId) {
    this.deviceIds[key] = deviceId;
    if (!this.tracks[key]) return this.emit('change');
    this.#drop(key);
    const track = await this.#open(key);
    if (track && key === 'a0') track.enabled = this.micOn;
    this.#changed(key);
  }

  async setScreen(on) {
    if (on && !this.tracks.v1) {
      let stream;
      try {
        stream = await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { max: SCREEN_FPS } }, audio: false });
      } catch (err) {
        if (err.name !== 'NotAllowedError') this.#problem('v1', err); // saying no in the dialog is no problem
        return;
      }
      const track = stream.getVideoTracks()[0];
      track.contentHint = 'detail';
      track.addEventListener('ended', () => this.setScreen(false)); // "stop sharing" of the browser
      this.tracks.v1 = track;
    } else if (!on) this.#drop('v1');
    this.#changed('v1');
  }

  // turn switches key on or off, whatever it is.
  turn(key, on) {
    return { a0: () => this.setMic(on), v0: () => this.setCamera(on), v1: () => this.setScreen(on) }[key]();
  }

  stop(key) {
    return this.turn(key, false);
  }

  close() {
    for (const key of Object.keys(this.tracks)) this.#drop(key);
    this.emit('change');
  }

  async #open(key) {
    const id = this.deviceIds[key];
    const base = key === 'a0' ? { echoCancellation: true, noiseSuppression: true, autoGainControl: true } : CAMERA;
    const kind = key === 'a0' ? 'audio' : 'video';
    const ask = (c) => navigator.mediaDevices.getUserMedia({ [kind]: c });
    try {
      if (!navigator.mediaDevices) throw new DOMException('', 'NotSupportedError');
      let stream;
      try {
        stream = await ask(id ? { ...base, deviceId: { exact: id } } : base);
      } catch (err) {
        if (!id || !['OverconstrainedError', 'NotFoundError'].includes(err.name)) throw err;
        stream = await ask(base); // the remembered device is not there any more
      }
      const track = stream.getTracks()[0];
      if (this.tracks[key]) {
        track.stop(); // somebody else was faster
        return this.tracks[key];
      }
      track.addEventListener('ended', () => {
        if (this.tracks[key] !== track) return;
        this.#drop(key);
        this.#problem(key, new DOMException('', 'NotFoundError')); // unplugged
        this.#changed(key);
      });
      this.tracks[key] = track;
      this.problems[key] = null;
      this.refreshDevices();
      return track;
    } catch (err) {
      this.#problem(key, err);
      return null;
    }
  }

  #drop(key) {
    const track = this.tracks[key];
    this.tracks[key] = null;
    track?.stop();
  }

  #problem(key, err) {
    this.problems[key] = err.name;
    console.warn(key, err.name, err.message);
    this.emit('problem', { key, name: err.name });
    this.emit('change');
  }

  #changed(key) {
    this.emit('track', key, this.tracks[key]);
    this.emit('change');
  }
}

// Meter measures the loudness of an audio track, 0..1, without keeping the page busy: read() is called by whoever draws.
export class Meter {
  constructor(track) {
    this.context = new AudioContext();
    this.source = this.context.createMediaStreamSource(new MediaStream([track]));
    this.analyser = this.context.createAnalyser();
    this.analyser.fftSize = 512;
    this.source.connect(this.analyser);
    this.samples = new Float32Array(this.analyser.fftSize);
    this.resume = () => this.context.resume(); // browsers let it run only after somebody touched the page
    if (this.context.state === 'suspended') addEventListener('pointerdown', this.resume, { once: true });
  }

  read() {
    this.analyser.getFloatTimeDomainData(this.samples);
    let sum = 0;
    for (const s of this.samples) sum += s * s;
    const db = 10 * Math.log10(sum / this.samples.length + 1e-10); // -100..0 dB
    return Math.max(0, Math.min(1, (db + 60) / 60));
  }

  close() {
    removeEventListener('pointerdown', this.resume);
    this.source.disconnect();
    this.context.close().catch(() => {});
  }
}
