// What the browser remembers of this person. Without storage (private windows) nothing is remembered, and nothing fails.

const KEY = 'konzil';
const RECENT = 6; // rooms in the list of the home page

function load() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {};
  }
}

const values = load();

export const get = (key, fallback) => values[key] ?? fallback;

export function set(key, value) {
  values[key] = value;
  try {
    localStorage.setItem(KEY, JSON.stringify(values));
  } catch {
    // remembered until the page is closed
  }
}

export const recent = () => get('recent', []);

export function visited(room) {
  set('recent', [room, ...recent().filter((r) => r !== room)].slice(0, RECENT));
}
