// Keys of a meeting: one letter each, and the space bar to talk while it is held.

// keyboard listens until the function it gives is called. keys are functions by lower-case key; talk is {may, start, end}.
export function keyboard({ keys, talk, blocked }) {
  let talking = false;

  function keydown(ev) {
    const key = ev.key.toLowerCase();
    if (ev.ctrlKey || ev.metaKey || ev.altKey || blocked() || ev.target.closest?.('.menu')) return;
    if (ev.target.closest?.('input, textarea, select') && key !== 'escape') return;
    if (key === ' ') {
      if (ev.target.closest?.('button, a, summary')) return; // space presses it
      ev.preventDefault();
      if (ev.repeat || talking || !talk.may()) return;
      talking = true;
      talk.start();
    } else if (keys[key] && !ev.repeat) {
      ev.preventDefault();
      keys[key]();
    }
  }

  function endTalk(ev) {
    if (!talking || (ev.type === 'keyup' && ev.key !== ' ')) return;
    talking = false;
    talk.end();
  }

  const listeners = { keydown, keyup: endTalk, blur: endTalk };
  for (const [event, fn] of Object.entries(listeners)) addEventListener(event, fn);
  return () => Object.entries(listeners).forEach(([event, fn]) => removeEventListener(event, fn));
}
